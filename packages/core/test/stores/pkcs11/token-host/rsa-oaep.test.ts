import { constants, generateKeyPairSync, privateDecrypt, randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bitsOf, wrapWithPublicKey } from '../../../../src/stores/pkcs11/token-host/rsa-oaep.ts';
import type { RsaPublicKey } from '../../../../src/stores/pkcs11/token-host/rsa-oaep.ts';
import { newKeyBytes } from '../../../support/keys.ts';

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const { n, e } = publicKey.export({ format: 'jwk' });
const key: RsaPublicKey = { modulus: Buffer.from(n!, 'base64url'), exponent: Buffer.from(e!, 'base64url') };

const open = (blob: Buffer, oaepHash: string) =>
  privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, blob);

for (const [hash, other] of [
  ['sha256', 'sha1'],
  ['sha1', 'sha256'],
] as const) {
  test(`what ${hash} wraps, the private key opens with that hash and no other`, () => {
    const localKek = newKeyBytes();
    const blob = wrapWithPublicKey(key, hash, localKek);
    assert.is(blob.length, 256);
    assert.equal(open(blob, hash), localKek);
    assert.throws(() => open(blob, other));
  });
}

test('the same key wrapped twice does not look the same', () => {
  const localKek = newKeyBytes();
  assert.not.equal(wrapWithPublicKey(key, 'sha256', localKek), wrapWithPublicKey(key, 'sha256', localKek));
});

test('the size of a key is that of its modulus, in bits', () => {
  const sized = (modulus: Buffer) => bitsOf({ modulus, exponent: Buffer.of(1, 0, 1) });
  assert.is(bitsOf(key), 2048);
  assert.is(sized(Buffer.concat([Buffer.of(0x7f), randomBytes(255)])), 2047);
  assert.is(sized(Buffer.concat([Buffer.of(1), randomBytes(384)])), 3073);
});

test.run();
