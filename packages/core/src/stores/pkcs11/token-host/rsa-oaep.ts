import { constants, createHash, createPublicKey, publicEncrypt } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

export interface RsaPublicKey {
  readonly modulus: Uint8Array;
  readonly exponent: Uint8Array;
}

/** Larger keys make envelopes that are too long (design D5), smaller ones are too weak (NIST SP 800-57 part 1). */
export const RSA_BITS = [3072, 2048];

/** Returns the bits of the modulus, which has no leading zero byte. */
export const bitsOf = ({ modulus }: RsaPublicKey): number => 8 * modulus.length - (Math.clz32(modulus[0] ?? 0) - 24);

function rsaKeyObject({ modulus, exponent }: RsaPublicKey): KeyObject {
  const text = (number: Uint8Array) => Buffer.from(number).toString('base64url');
  const key = { kty: 'RSA', n: text(modulus), e: text(exponent) };
  return createPublicKey({ key, format: 'jwk' });
}

/** SHA-256 of the key's SubjectPublicKeyInfo (RFC 5280 §4.1), in hexadecimal. */
export const publicKeyHash = (key: RsaPublicKey): string =>
  createHash('sha256')
    .update(rsaKeyObject(key).export({ format: 'der', type: 'spki' }))
    .digest('hex');

/** RSA-OAEP (RFC 8017 §7.1), with the same hash for MGF1 and no label. It needs only the public key, so the token is not asked. */
export function wrapWithPublicKey(publicKey: RsaPublicKey, oaepHash: 'sha256' | 'sha1', localKek: Buffer): Buffer {
  const key = rsaKeyObject(publicKey);
  return publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, localKek);
}
