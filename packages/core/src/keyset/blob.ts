import { KEY_BYTES } from '../envelope/limits.ts';
import { KmsError } from '../errors.ts';

/**
 * The error for a key's blob of a wrong size.
 * @param where - what the message names
 */
export function wrongBlobSize(where: string, size: number): KmsError {
  const text = `${where}: expected exactly ${KEY_BYTES} raw bytes, found ${size}${hint(size)}`;
  return new KmsError('ERR_KMS_KEYSET_INVALID', text, { remedy: 'restore the key from the backup, as raw bytes' });
}

function hint(size: number): string {
  if (size === 44 || size === 45) return ' (base64 text? the blob must be the raw bytes)';
  if (size === 64 || size === 65) return ' (hexadecimal text? the blob must be the raw bytes)';
  return '';
}
