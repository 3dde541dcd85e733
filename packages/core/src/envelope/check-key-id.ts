import { KmsError } from '../errors.ts';
import type { Envelope } from './codec.ts';

/**
 * Checks that the key_id of a KMS v2 request is the one in the envelope (spec §7.2). KMS v1 sends none.
 * @throws {@link KmsError} `ERR_KMS_KEY_ID_MISMATCH`
 */
export function checkKeyId(envelope: Envelope, keyId: string | undefined): void {
  if (keyId !== undefined && keyId !== envelope.keyId) {
    throw new KmsError('ERR_KMS_KEY_ID_MISMATCH', 'the request names another key than the ciphertext');
  }
}
