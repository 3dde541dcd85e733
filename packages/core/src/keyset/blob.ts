import { randomBytes } from 'node:crypto';
import { KEY_BYTES } from '../envelope/limits.ts';
import { KmsError } from '../errors.ts';
import { SecretBytes } from '../util/secret-bytes.ts';
import { KeyProof } from './key-proof.ts';
import type { KeyTraits } from './manifest.ts';
import { RESTORE_KEYS } from './restoring.ts';

/**
 * A key of 32 bytes, which the caller wipes, and what the manifest must say of it.
 * @param given - is copied. Default: random bytes
 */
export function newKey(
  keyId: string,
  contextId: Buffer,
  given?: SecretBytes,
): { readonly key: SecretBytes; readonly traits: KeyTraits } {
  const key = new SecretBytes(given ? Buffer.from(given.expose()) : randomBytes(KEY_BYTES));
  const proof = new KeyProof(key, contextId, keyId);
  proof.destroy();
  return { key, traits: { check: proof.check } };
}

/**
 * The error for a key's blob of a wrong size.
 * @param where - what the message names
 */
export function wrongBlobSize(where: string, size: number): KmsError {
  const text = `${where}: expected exactly ${KEY_BYTES} raw bytes, found ${size}${hint(size)}`;
  return new KmsError('ERR_KMS_KEYSET_INVALID', text, { remedy: RESTORE_KEYS });
}

function hint(size: number): string {
  if (size === 44 || size === 45) return ' (base64 text? the blob must be the raw bytes)';
  if (size === 64 || size === 65) return ' (hexadecimal text? the blob must be the raw bytes)';
  return '';
}
