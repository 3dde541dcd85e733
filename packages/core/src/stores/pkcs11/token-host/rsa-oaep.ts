import { constants, createHash, createPublicKey, publicEncrypt } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { unavailable } from '../../../errors.ts';

export interface RsaPublicKey {
  readonly modulus: Uint8Array;
  readonly exponent: Uint8Array;
}

/** Larger keys make envelopes that are too long (design D5), smaller ones are too weak (NIST SP 800-57 part 1). */
export const RSA_BITS = [3072, 2048];

/** Returns the bits of the modulus, which has no leading zero byte. */
export const bitsOf = ({ modulus }: RsaPublicKey): number => 8 * modulus.length - (Math.clz32(modulus[0] ?? 0) - 24);

/** @throws KmsError `ERR_KMS_STORE_UNAVAILABLE` for numbers that are no RSA key */
function withKey<T>({ modulus, exponent }: RsaPublicKey, work: (key: KeyObject) => T): T {
  const text = (number: Uint8Array) => Buffer.from(number).toString('base64url');
  try {
    return work(createPublicKey({ key: { kty: 'RSA', n: text(modulus), e: text(exponent) }, format: 'jwk' }));
  } catch (cause) {
    throw unavailable("the token's RSA public key cannot be used", { cause });
  }
}

/** SHA-256 of the key's SubjectPublicKeyInfo (RFC 5280 §4.1), in hexadecimal. */
export const publicKeyHash = (publicKey: RsaPublicKey): string =>
  withKey(publicKey, (key) =>
    createHash('sha256')
      .update(key.export({ format: 'der', type: 'spki' }))
      .digest('hex'),
  );

/** RSA-OAEP (RFC 8017 §7.1), with the same hash for MGF1 and no label. It needs only the public key, so the token is not asked. */
export function wrapWithPublicKey(publicKey: RsaPublicKey, oaepHash: 'sha256' | 'sha1', localKek: Buffer): Buffer {
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  return withKey(publicKey, (key) => publicEncrypt({ key, padding, oaepHash }, localKek));
}
