import { rejectsWithCode } from '@teapot-kms/testing';
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { XaesKey } from '../../src/envelope/xaes.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';

interface Vectors {
  readonly vectors: readonly Record<'key' | 'nonce' | 'plaintext' | 'additionalData' | 'sealed', string>[];
  readonly accumulated: Readonly<Record<string, string>>;
}

const { vectors, accumulated } = JSON.parse(
  readFileSync(new URL('../vectors/xaes-256-gcm.json', import.meta.url), 'utf8'),
) as Vectors;

const keyOf = (bytes: Buffer) => new XaesKey(new SecretBytes(Buffer.from(bytes)));

function seal(key: XaesKey, nonce: Buffer, plaintext: Buffer, additionalData: Buffer): Buffer {
  const out = Buffer.alloc(plaintext.length + 16);
  key.seal(nonce, plaintext, additionalData, out, 0);
  return out;
}

/** The construction once more, as the specification's text has it: CMAC over each whole message, nothing kept. */
function sealBySpecification(k: Buffer, nonce: Buffer, plaintext: Buffer, additionalData: Buffer): Buffer {
  const cmac = (message: Buffer) => {
    const encrypt = (block: Buffer) => createCipheriv('aes-256-cbc', k, Buffer.alloc(16)).update(block);
    const bits = [...encrypt(Buffer.alloc(16))].map((byte) => byte.toString(2).padStart(8, '0')).join('');
    const subkey = Buffer.alloc(16);
    for (let i = 0; i < 16; i++) subkey[i] = Number.parseInt(`${bits}0`.slice(8 * i + 1, 8 * i + 9), 2);
    if (bits.startsWith('1')) subkey[15]! ^= 0b10000111;
    return encrypt(message.map((byte, i) => byte ^ subkey[i]!) as Buffer);
  };
  const messageKey = Buffer.concat(
    [1, 2].map((counter) =>
      cmac(Buffer.concat([Buffer.from([0, counter]), Buffer.from('X\0'), nonce.subarray(0, 12)])),
    ),
  );
  const gcm = createCipheriv('aes-256-gcm', messageKey, nonce.subarray(12)).setAAD(additionalData);
  return Buffer.concat([gcm.update(plaintext), gcm.final(), gcm.getAuthTag()]);
}

for (const [index, vector] of vectors.entries()) {
  test(`C2SP’s vector ${String(index + 1)} is sealed and opened`, () => {
    const [nonce, plaintext, additionalData, sealed] = (
      ['nonce', 'plaintext', 'additionalData', 'sealed'] as const
    ).map((field) => Buffer.from(vector[field], 'hex')) as [Buffer, Buffer, Buffer, Buffer];
    const key = keyOf(Buffer.from(vector.key, 'hex'));
    assert.equal(seal(key, nonce, plaintext, additionalData), sealed);
    assert.equal(key.open(nonce, sealed, additionalData), plaintext);
    key.destroy();
  });
}

test('C2SP’s accumulated vector: 10,000 keys, nonces, plaintexts and additional data', () => {
  const stream = createHash('shake128', { outputLength: 3_200_000 }).digest();
  let at = 0;
  const read = (bytes: number) => stream.subarray(at, (at += bytes));
  const results = createHash('shake128', { outputLength: 32 });
  for (let i = 0; i < 10_000; i++) {
    const key = keyOf(read(32));
    const nonce = read(24);
    const plaintext = read(read(1)[0]!);
    const additionalData = read(read(1)[0]!);
    const sealed = seal(key, nonce, plaintext, additionalData);
    results.update(sealed);
    assert.ok(key.open(nonce, sealed, additionalData)?.equals(plaintext));
    key.destroy();
  }
  assert.is(results.digest('hex'), accumulated['10000']);
});

test('a second implementation, written from the specification, gives the same bytes', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const any = fc.uint8Array({ maxLength: 100 });
  fc.assert(
    fc.property(bytes(32), bytes(24), any, any, (...inputs) => {
      const [k, nonce, plaintext, additionalData] = inputs.map((input) => Buffer.from(input)) as [
        Buffer,
        Buffer,
        Buffer,
        Buffer,
      ];
      const key = keyOf(k);
      const sealed = seal(key, nonce, plaintext, additionalData);
      assert.equal(sealed, sealBySpecification(k, nonce, plaintext, additionalData));
      assert.equal(key.open(nonce, sealed, additionalData), plaintext);
      key.destroy();
    }),
    { numRuns: 500 },
  );
});

test('the result goes to its offset and touches nothing beside it', () => {
  const key = keyOf(randomBytes(32));
  const out = Buffer.alloc(40, 0xee);
  key.seal(randomBytes(24), Buffer.from('four'), Buffer.alloc(0), out, 10);
  assert.equal(out.subarray(0, 10), Buffer.alloc(10, 0xee));
  assert.equal(out.subarray(30), Buffer.alloc(10, 0xee));
  key.destroy();
});

test('a changed nonce, ciphertext, tag or additional data opens to nothing', () => {
  const key = keyOf(randomBytes(32));
  const inputs = [randomBytes(24), seal(key, Buffer.alloc(24), randomBytes(5), Buffer.from('ad')), Buffer.from('ad')];
  inputs[0] = Buffer.alloc(24);
  for (const which of [0, 1, 2]) {
    for (let bit = 0; bit < 8 * inputs[which]!.length; bit++) {
      const [nonce, sealed, additionalData] = inputs.map((input) => Buffer.from(input)) as [Buffer, Buffer, Buffer];
      [nonce, sealed, additionalData][which]![bit >> 3]! ^= 1 << (bit & 7);
      assert.is(key.open(nonce, sealed, additionalData), undefined);
    }
  }
  key.destroy();
});

for (const size of [0, 16, 31, 33, 64]) {
  test(`a key of ${String(size)} bytes is refused and wiped`, async () => {
    const bytes = Buffer.alloc(size, 7);
    await rejectsWithCode(() => new XaesKey(new SecretBytes(bytes)), 'ERR_KMS_KEYSET_INVALID');
    assert.equal(bytes, Buffer.alloc(size));
  });
}

test('the buffer that a key came in is wiped at once', () => {
  const bytes = randomBytes(32);
  const key = new XaesKey(new SecretBytes(bytes));
  assert.equal(bytes, Buffer.alloc(32));
  key.destroy();
});

test('a destroyed key neither seals nor opens, and can be destroyed again', async () => {
  const key = keyOf(randomBytes(32));
  const sealed = seal(key, Buffer.alloc(24), Buffer.from('x'), Buffer.alloc(0));
  key.destroy();
  key.destroy();
  await rejectsWithCode(() => seal(key, Buffer.alloc(24), Buffer.from('x'), Buffer.alloc(0)), 'ERR_KMS_CLOSED');
  await rejectsWithCode(() => key.open(Buffer.alloc(24), sealed, Buffer.alloc(0)), 'ERR_KMS_CLOSED');
});

test.run();
