import { assertNoSecret, newDirectory, rejectsWithCode, rememberSecret } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkPinSource, readPin } from '../../../src/stores/pkcs11/pin-source.ts';
import { writeWithMode } from '../../support/directories.ts';

function newPin(): string {
  const pin = randomBytes(8).toString('hex');
  rememberSecret(Buffer.from(pin));
  return pin;
}

function fileWith(content: Buffer | string, mode = 0o600): string {
  const path = join(newDirectory(), 'pin');
  writeWithMode(path, content, mode);
  return path;
}

const readFrom = async (source: string, env: NodeJS.ProcessEnv = {}) => (await readPin(source, env)).expose();

test('a PIN is read from a file, by its URI or its path', async () => {
  const pin = newPin();
  const path = fileWith(pin);
  for (const source of [path, `file:${path}`, `file://${path}`]) {
    assert.is((await readFrom(source)).toString(), pin);
  }
});

test('a PIN is read from an environment variable', async () => {
  const pin = newPin();
  assert.is((await readFrom('env:THE_PIN', { THE_PIN: pin })).toString(), pin);
  assert.is((await readFrom('env:THE_PIN', { THE_PIN: `${pin}\n` })).toString(), pin);
});

test('a PIN is read from a systemd credential, which an ACL makes look open to its group', async () => {
  const pin = newPin();
  for (const mode of [0o400, 0o440, 0o600]) {
    const directory = newDirectory();
    writeWithMode(join(directory, 'token.pin'), pin, mode);
    assert.is((await readFrom('credential:token.pin', { CREDENTIALS_DIRECTORY: directory })).toString(), pin);
  }
});

test('a file behind a symbolic link is read, as a mounted Secret has them', async () => {
  const pin = newPin();
  const link = join(newDirectory(), 'pin');
  symlinkSync(fileWith(pin, 0o400), link);
  assert.is((await readFrom(link)).toString(), pin);
});

const ends: readonly (readonly [content: string, pin: string])[] = [
  ['1234\n', '1234'],
  ['1234\r\n', '1234'],
  ['1234\n\n', '1234\n'],
  ['1234\n\r\n', '1234\n'],
  ['1234\r', '1234\r'],
  [' 12 34 \t\n', ' 12 34 \t'],
  ['12\n34', '12\n34'],
];
for (const [content, pin] of ends) {
  test(`of ${JSON.stringify(content)} the PIN is ${JSON.stringify(pin)}`, async () => {
    assert.is((await readFrom(fileWith(content))).toString(), pin);
  });
}

test('bytes that are no text come as they are', async () => {
  const bytes = Buffer.from([0xff, 0, 0xfe, 0x0d]);
  assert.equal(await readFrom(fileWith(bytes)), bytes);
});

test('a PIN of 255 bytes is taken with any line end, one of 256 is not', async () => {
  for (const end of ['', '\n', '\r\n']) {
    assert.is((await readFrom(fileWith('x'.repeat(255) + end))).length, 255);
    for (const length of [256, 257, 258, 5000]) {
      const error = await rejectsWithCode(
        () => readFrom(fileWith('x'.repeat(length) + end)),
        'ERR_KMS_STORE_UNAVAILABLE',
      );
      assert.match(error.message, /at most 255 bytes, found more/);
    }
  }
});

test('an empty PIN is refused, wherever it is from', async () => {
  for (const content of ['', '\n', '\r\n']) {
    const path = fileWith(content);
    const error = await rejectsWithCode(() => readFrom(path), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.is(error.message, `${path}: expected a PIN, found nothing`);
    await rejectsWithCode(() => readFrom('env:P', { P: content }), 'ERR_KMS_STORE_UNAVAILABLE');
  }
});

for (const mode of [0o640, 0o604, 0o620, 0o601, 0o610, 0o644, 0o666]) {
  test(`a file of mode 0${mode.toString(8)} is refused with what to run`, async () => {
    const pin = newPin();
    const path = fileWith(pin, mode);
    const error = await rejectsWithCode(() => readFrom(path), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.ok(error.message.endsWith(`(mode 0${mode.toString(8)})`), error.message);
    assert.match(error.remedy!, `chmod 0600 ${path}`);
    assertNoSecret(error, Buffer.from(pin));
  });
}

test('a PIN in a Secret volume with fsGroup, which makes its mode 0440, is read; one that everyone can read is not', async () => {
  const volume = newDirectory();
  mkdirSync(join(volume, '..1'));
  symlinkSync('..1', join(volume, '..data'));
  symlinkSync('..data/pin', join(volume, 'pin'));
  const pin = newPin();
  writeWithMode(join(volume, '..1', 'pin'), pin, 0o440);
  assert.equal(await readFrom(join(volume, 'pin')), Buffer.from(pin));
  for (const mode of [0o444, 0o460, 0o644]) {
    chmodSync(join(volume, '..1', 'pin'), mode);
    await rejectsWithCode(() => readFrom(join(volume, 'pin')), 'ERR_KMS_STORE_UNAVAILABLE');
  }
});

test('a credential that others can read, or its group can write, is refused', async () => {
  for (const mode of [0o444, 0o404, 0o460, 0o450]) {
    const directory = newDirectory();
    writeWithMode(join(directory, 'pin'), newPin(), mode);
    const env = { CREDENTIALS_DIRECTORY: directory };
    await rejectsWithCode(() => readFrom('credential:pin', env), 'ERR_KMS_STORE_UNAVAILABLE');
  }
});

test('what is not there is unavailable, and the error names it', async () => {
  const missing = join(newDirectory(), 'missing');
  const cases: readonly (readonly [string, NodeJS.ProcessEnv, RegExp])[] = [
    [missing, {}, /missing: no such file$/],
    ['env:NO_PIN', {}, /env:NO_PIN: the plugin has no such/],
    ['credential:pin', {}, /credential:pin: systemd has given/],
    ['credential:pin', { CREDENTIALS_DIRECTORY: 'relative' }, /credential:pin: /],
    ['credential:missing', { CREDENTIALS_DIRECTORY: newDirectory() }, /missing: no such file$/],
  ];
  for (const [source, env, message] of cases) {
    const error = await rejectsWithCode(() => readFrom(source, env), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, message);
  }
});

test('a variable whose bytes were no UTF-8 is refused, since they are lost', async () => {
  await rejectsWithCode(() => readFrom('env:P', { P: 'a\uFFFDb' }), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('a directory, a device and a FIFO are refused, and none of them holds us up', async () => {
  const directory = newDirectory();
  mkdirSync(join(directory, 'directory'), { mode: 0o700 });
  execFileSync('mkfifo', ['-m', '600', join(directory, 'fifo')]);
  for (const path of [join(directory, 'directory'), '/dev/zero', join(directory, 'fifo')]) {
    // A device that were read would never end.
    const error = await rejectsWithCode(() => readFrom(path), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, /expected a file with the PIN/);
  }
});

test('forms that are accepted', () => {
  for (const source of ['/p', 'file:/p', 'file:///p', 'env:A_1', 'env:_', 'credential:a.b-c@d']) checkPinSource(source);
});

const REFUSED_FORMS = [
  '',
  'p',
  './p',
  'file:p',
  'file:',
  'file://host/p',
  '//p',
  '|/usr/bin/pin',
  'env:',
  'env:1A',
  'env:A=B',
  'env:A B',
  'credential:',
  'credential:a/b',
  'credential:..',
  'http://x/p',
  'FILE:/p',
  '/p\0',
  '4711-secret',
];
for (const source of REFUSED_FORMS) {
  test(`${JSON.stringify(source)} is no source`, async () => {
    for (const use of [() => checkPinSource(source), () => readPin(source, {})]) {
      await rejectsWithCode(use, 'ERR_KMS_INVALID_URI');
    }
  });
}

test('a PIN that stands where its source should is not shown', async () => {
  const pin = newPin();
  for (const source of [pin, `|${pin}`, `env:1${pin}`, `credential:/${pin}`, `file:${pin}`, `x:${pin}`]) {
    assertNoSecret(await rejectsWithCode(() => checkPinSource(source), 'ERR_KMS_INVALID_URI'), Buffer.from(pin));
  }
});

test.run();
