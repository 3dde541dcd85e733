import { KmsError } from '../errors.ts';
import type { Envelope } from './codec.ts';

/**
 * The key_id of a KMS v2 request must be the envelope's own (spec §7.2); KMS v1 sends none.
 * @throws {@link KmsError} `ERR_KMS_KEY_ID_MISMATCH`
 */
export function checkKeyId(envelope: Envelope, keyId: string | undefined): void {
  if (keyId !== undefined && keyId !== envelope.keyId) {
    throw new KmsError('ERR_KMS_KEY_ID_MISMATCH', 'the request names another key than the ciphertext');
  }
}

/** A key that is not in memory, while the store cannot be asked: it may well be there, so it is not called unknown. */
export function cannotLook(keyId: string, cause: KmsError | undefined): KmsError {
  const message = `key ${keyId} is not in memory, and the key store cannot be asked: ${cause?.message ?? 'no answer'}`;
  return new KmsError('ERR_KMS_STORE_UNAVAILABLE', message, { cause });
}
