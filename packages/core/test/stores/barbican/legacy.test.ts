import { legacyCiphertext, rejectsWithCode } from '@teapot-kms/testing';
import fc from 'fast-check';
import { createCipheriv, randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { LegacyKeys, loadLegacyKeys } from '../../../src/stores/barbican/legacy.ts';
import { KmsError } from '../../../src/errors.ts';
import { SecretBytes } from '../../../src/util/secret-bytes.ts';

const vector = {
  key: '6368616e676520746869732070617373',
  iv: '000102030405060708090a0b0c0d0e0f',
  plaintext: '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f',
  ciphertext:
    '000102030405060708090a0b0c0d0e0fbc6bf8a94f06bf9f51f1f11893fc7cdda0eb9db36e775c9c8e1d59d2c3b42b99156c353fff10675940b9a63309a43c00',
};
const [ID, OTHER] = ['72a66c8e-1f5c-4b1a-9a3c-0f7d1f2b9c11', '00000000-1f5c-4b1a-9a3c-0f7d1f2b9c11'];
const hex = (text: string) => Buffer.from(text, 'hex');
const keysOf = (...keys: Buffer[]) =>
  new LegacyKeys(new Map(keys.map((key, index) => [`key-${String(index)}`, new SecretBytes(Buffer.from(key))])));

test("what barbican-kms-plugin's own code wrote is opened, and our test code writes the same", () => {
  assert.equal(legacyCiphertext(hex(vector.key), hex(vector.plaintext), hex(vector.iv)), hex(vector.ciphertext));
  const opened = keysOf(hex(vector.key)).open(hex(vector.ciphertext), 'key-0');
  assert.equal(opened?.plaintext, hex(vector.plaintext));
});

for (const size of [16, 24, 32]) {
  test(`a key of ${String(size)} bytes opens, with and without its id`, () => {
    const [key, plaintext] = [randomBytes(size), randomBytes(32)];
    const keys = keysOf(randomBytes(32), key);
    const ciphertext = legacyCiphertext(key, plaintext);
    assert.equal(keys.open(ciphertext, 'key-1'), { keyId: 'key-1', plaintext });
    assert.equal(keys.open(ciphertext, undefined), { keyId: 'key-1', plaintext });
    assert.is(keys.open(ciphertext, 'key-0'), undefined);
    assert.is(keys.open(ciphertext, 'key-2'), undefined);
  });
}

test('any other length is refused, and so is any other plaintext length', () => {
  const key = randomBytes(32);
  const keys = keysOf(key);
  const good = legacyCiphertext(key, randomBytes(32));
  for (let length = 0; length < 200; length++) {
    if (length !== 64)
      assert.is(keys.open(Buffer.concat([good, good, good, good]).subarray(0, length), undefined), undefined);
  }
  for (let length = 0; length < 48; length++) {
    if (length !== 32) assert.is(keys.open(legacyCiphertext(key, randomBytes(length)), undefined), undefined);
  }
});

test('padding is strict: 16 bytes of 16 and nothing else', () => {
  const [key, iv] = [randomBytes(32), randomBytes(16)];
  for (let value = 0; value < 256; value++) {
    for (const at of [0, 7, 15]) {
      if (value === 16) continue;
      const padding = Buffer.alloc(16, 16);
      padding[at] = value;
      const cipher = createCipheriv('aes-256-cbc', key, iv).setAutoPadding(false);
      const ciphertext = Buffer.concat([iv, cipher.update(Buffer.concat([randomBytes(32), padding])), cipher.final()]);
      assert.is(keysOf(key).open(ciphertext, undefined), undefined);
    }
  }
});

test('a change behind the first 32 bytes is an error; one in them cannot be seen, as SECURITY.md says', () => {
  const key = randomBytes(32);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 511 }), (bit) => {
      const plaintext = randomBytes(32);
      const ciphertext = legacyCiphertext(key, plaintext);
      ciphertext[bit >> 3]! ^= 1 << (bit & 7);
      const opened = keysOf(key).open(ciphertext, undefined);
      if (bit >= 256) assert.is(opened, undefined);
      else assert.ok(opened && !opened.plaintext.equals(plaintext));
    }),
    { numRuns: 500 },
  );
});

test('arbitrary bytes open with a chance of 2^-128 a key', () => {
  const keys = keysOf(randomBytes(16), randomBytes(32));
  for (let count = 0; count < 2_000; count++) assert.is(keys.open(randomBytes(64), undefined), undefined);
});

test('a key of another length becomes a warning and is wiped', async () => {
  for (const length of [0, 15, 17, 31, 33, 44]) {
    const key = new SecretBytes(Buffer.alloc(length, 7));
    const keys = await loadLegacyKeys(new Set([ID]), () => Promise.resolve(key));
    const [warning] = keys?.warnings ?? [];
    assert.ok(warning);
    assert.is(warning.code, 'ERR_KMS_KEYSET_INVALID');
    assert.match(warning.message, new RegExp(` found ${String(length)}$`));
    assert.match(warning.remedy ?? '', 'restore this secret in Barbican');
    assert.equal(keys?.keyIds, []);
    assert.ok(key.expose().every((byte) => byte === 0));
  }
});

test('a destroyed opener holds no key', () => {
  const bytes = new SecretBytes(randomBytes(32));
  new LegacyKeys(new Map([['a', bytes]])).destroy();
  assert.ok(bytes.expose().every((byte) => byte === 0));
});

for (const id of ['http://barbican/v1/secrets/72a66c8e-1f5c-4b1a-9a3c-0f7d1f2b9c11', '../containers', '..', ' ']) {
  test(`${JSON.stringify(id)} is no key-id, and nothing is read`, async () => {
    const keys = await loadLegacyKeys(new Set([id]), () => Promise.reject(new Error('it was read')));
    const [warning] = keys?.warnings ?? [];
    assert.ok(warning);
    assert.is(warning.code, 'ERR_KMS_KEYSET_INVALID');
    assert.match(warning.message, /^\[KeyManager\] key-id: expected the UUID/);
    assert.is(warning.remedy, 'set key-id in cloud.conf to the UUID alone');
  });
}

test('a lost legacy key is a warning, and the others open', async () => {
  const key = randomBytes(32);
  const keys = await loadLegacyKeys(new Set([OTHER, ID]), (id) =>
    id === ID
      ? Promise.resolve(new SecretBytes(Buffer.from(key)))
      : Promise.reject(new KmsError('ERR_KMS_KEY_GONE', 'it was deleted')),
  );
  assert.equal(keys?.keyIds, [ID]);
  assert.equal(
    keys?.warnings.map(({ code, message }) => [code, message]),
    [['ERR_KMS_KEY_GONE', 'it was deleted']],
  );
  assert.ok(keys?.open(legacyCiphertext(key, randomBytes(32)), undefined));
});

test('while Barbican cannot be reached no legacy keys are loaded, and none is kept in memory', async () => {
  const first = new SecretBytes(randomBytes(32));
  const load = () =>
    loadLegacyKeys(new Set([ID, OTHER]), (id) =>
      id === ID ? Promise.resolve(first) : Promise.reject(new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'out of reach')),
    );
  await rejectsWithCode(load, 'ERR_KMS_STORE_UNAVAILABLE');
  assert.ok(first.expose().every((byte) => byte === 0));
});

test.run();
