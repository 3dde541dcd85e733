import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findModule } from '../../../src/stores/pkcs11/module.ts';

const own = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';

function rootWith(...files: readonly string[]): string {
  const root = newDirectory();
  for (const file of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), '');
  }
  return root;
}

const places: readonly (readonly [string, string])[] = [
  ['tpm2_pkcs11', `usr/lib/${own}/pkcs11/libtpm2_pkcs11.so`],
  ['opensc-pkcs11', `usr/lib/${own}/pkcs11/opensc-pkcs11.so`],
  ['a', 'usr/lib/pkcs11/liba.so'],
  ['opensc-pkcs11', 'usr/lib64/pkcs11/opensc-pkcs11.so'],
  ['softhsm2', 'usr/lib/softhsm/libsofthsm2.so'],
  ['softokn3', `usr/lib/${own}/libsoftokn3.so`],
  ['opencryptoki', 'usr/lib/opencryptoki/libopencryptoki.so'],
];
for (const [name, file] of places) {
  test(`${name} is found at /${file}`, () => {
    const root = rootWith(file);
    assert.is(findModule({ name }, root), join(root, file));
  });
}

test('the libraries of this machine come before those of another, a directory for modules before others', () => {
  const root = rootWith(
    'usr/lib/a-other-linux-gnu/pkcs11/libm.so',
    `usr/lib/${own}/pkcs11/libm.so`,
    `usr/lib/${own}/m.so`,
    'usr/lib64/pkcs11/libm.so',
  );
  assert.is(findModule({ name: 'm' }, root), join(root, `usr/lib/${own}/pkcs11/libm.so`));
});

test('a directory under the name of a module is not one', async () => {
  const root = rootWith('usr/lib/pkcs11/libm.so/file');
  await rejectsWithCode(() => findModule({ name: 'm' }, root), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('where there is none the error says what it looked for and where', async () => {
  for (const root of [rootWith(), rootWith('usr/lib/pkcs11/other.so')]) {
    const error = await rejectsWithCode(() => findModule({ name: 'm' }, root), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, /^no m\.so or libm\.so in /);
    for (const place of ['usr/lib/*/pkcs11', 'usr/lib/pkcs11', 'usr/lib64/pkcs11', 'usr/lib/softhsm', 'usr/lib/*']) {
      assert.ok(error.message.includes(join(root, place)), error.message);
    }
  }
});

test('a path is taken as it is, if there is a file', async () => {
  const path = join(rootWith('m.so'), 'm.so');
  assert.is(findModule({ path }), path);
  const error = await rejectsWithCode(() => findModule({ path: `${path}.1` }), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.ok(error.message.includes(`${path}.1`));
  await rejectsWithCode(() => findModule({ path: dirname(path) }), 'ERR_KMS_STORE_UNAVAILABLE');
});

const SOFTHSM = '/usr/lib/softhsm/libsofthsm2.so';
if (existsSync(SOFTHSM)) {
  test('SoftHSM is found where Debian puts it', () => {
    assert.is(findModule({ name: 'softhsm2' }), SOFTHSM);
  });
} else console.log('SKIPPED finding the real SoftHSM: apt-get install softhsm2');

test.run();
