import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readText } from '../../../../src/stores/barbican/keystone/configuration.ts';

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

test.run();
