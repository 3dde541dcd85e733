import { CONTEXT_ID_BYTES } from './limits.ts';

const LABEL = Buffer.from('teapot-kms/envelope/v1', 'latin1');

/**
 * The associated data (spec §6.3): label ‖ context id ‖ header. Label and context id have fixed lengths, and the header contains the
 * lengths of its parts, so different inputs never give the same bytes.
 *
 * @param contextId - the keyset's 16 random bytes. They keep one tenant's ciphertext from opening in another tenant's instance
 */
export function associatedData(header: Buffer, contextId: Buffer): Buffer {
  if (contextId.length !== CONTEXT_ID_BYTES) throw new RangeError('a context id has 16 bytes');
  return Buffer.concat([LABEL, contextId, header]);
}
