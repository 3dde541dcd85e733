import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CloudConfiguration, cloudSettings, readText } from '../../../../src/stores/barbican/keystone/configuration.ts';

function written(text: string, mode: number): string {
  const file = join(newDirectory(), 'cloud.conf');
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

for (const text of [
  '[Global]\npassword = hunter2\n',
  '[Global]\napplication-credential-secret = "s"\n',
  'clouds:\n  a:\n    auth:\n      password: hunter2\n',
  "clouds:\n  a:\n    auth:\n      'application_credential_secret': s\n",
  'clouds:\n  a:\n    auth:\n      token: t\n',
  '-----BEGIN EC PRIVATE KEY-----\nhunter2\n',
]) {
  test(`a file that everyone can read is refused for the secret in ${JSON.stringify(text)}, and does not show it`, async () => {
    const file = written(text, 0o644);
    const { message, remedy } = await rejectsWithCode(() => readText(file), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.not.match(message, 'hunter2');
    assert.match(remedy ?? '', `chmod o= ${file}`);
    chmodSync(file, 0o640);
    assert.is(await readText(file), text);
  });
}

test('a file without a secret may be read by everyone', async () => {
  const text = '[Global]\nauth-url = https://keystone\n# password = none\n';
  assert.is(await readText(written(text, 0o644)), text);
});

test('a file that others can change is refused', async () => {
  const file = written('[Global]\n', 0o664);
  const { remedy } = await rejectsWithCode(() => readText(file), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(remedy, `chmod go-w ${file}`);
});

test('a cloud.conf is longer than 64 KiB: refused, and certificates of 1 MiB are read', async () => {
  const file = written('# x\n'.repeat(20_000), 0o644);
  const settings = cloudSettings.parse({ cloudConfig: file });
  const reading = () => new CloudConfiguration(settings, {}).read();
  const { message } = await rejectsWithCode(reading, 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(message, 'too long: expected at most 65536 bytes');
  assert.is((await readText(file)).length, 80_000);
});

test('a megabyte of empty lines takes no quadratic time: a search for secrets that begins at each of them would not end', async () => {
  const text = '\n'.repeat(1_000_000);
  assert.is(await readText(written(text, 0o644)), text);
});

test.run();
