import { constants, createPublicKey, publicEncrypt } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

export interface RsaPublicKey {
  readonly modulus: Uint8Array;
  readonly exponent: Uint8Array;
}

function rsaKeyObject({ modulus, exponent }: RsaPublicKey): KeyObject {
  const text = (number: Uint8Array) => Buffer.from(number).toString('base64url');
  const key = { kty: 'RSA', n: text(modulus), e: text(exponent) };
  return createPublicKey({ key, format: 'jwk' });
}

/** RSA-OAEP (RFC 8017 §7.1) with the same hash for MGF1 and no label: needs the public key only, so the token is not asked. */
export function wrapWithPublicKey(key: RsaPublicKey, hash: 'sha256' | 'sha1', localKek: Buffer): Buffer {
  const options = { key: rsaKeyObject(key), padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: hash };
  return publicEncrypt(options, localKek);
}
