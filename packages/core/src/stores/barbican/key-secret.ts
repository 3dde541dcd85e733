import { KEY_BYTES } from '../../envelope/limits.ts';
import { KmsError } from '../../errors.ts';
import { RESTORE_KEYS } from '../../keyset/restoring.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import type { BarbicanClient } from './client.ts';

/**
 * Reads a key from its Barbican secret.
 * @param secret - the UUID that the manifest has for it
 * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` if the manifest has none, or the secret has another size; as {@link BarbicanClient.payload}
 */
export async function readKeyOf(
  client: BarbicanClient,
  keyId: string,
  secret: string | undefined,
  signal: AbortSignal,
): Promise<SecretBytes> {
  if (secret === undefined) {
    const message = `key ${keyId} has no "secret" in the manifest, the UUID of its Barbican secret`;
    throw new KmsError('ERR_KMS_KEYSET_INVALID', message, { remedy: RESTORE_KEYS });
  }
  const key = await client.payload(secret, signal, `key ${keyId}`);
  if (key.length === KEY_BYTES) return key;
  key.wipe();
  const found = `expected exactly ${KEY_BYTES} raw bytes, found ${key.length}${likelyReason(key.length)}`;
  throw new KmsError('ERR_KMS_KEYSET_INVALID', `key ${keyId}, secret ${secret}: ${found}`, {
    remedy: RESTORE_KEYS,
  });
}

function likelyReason(length: number): string {
  if (length === 44 || length === 45) return '; it is probably base64 that was uploaded as text';
  if (length === 64 || length === 65) return '; it is probably hexadecimal that was uploaded as text';
  return '';
}
