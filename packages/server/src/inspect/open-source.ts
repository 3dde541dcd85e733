import { decodeEnvelope, EnvelopeKey, KmsError } from '@teapot-kms/core';
import type { Envelope, KeysetSource, RemoteKek } from '@teapot-kms/core';
import type { EnvelopeSummary } from './envelope-summary.ts';
import type { KmsValue } from './stored-value.ts';

/** Time limit in ms for the key store. */
const TIMEOUT_MS = 60_000;

/**
 * Decrypts the data key or seed of an object as the plugin would with these keys, without a running plugin. Changes nothing in the store.
 * @returns the plaintext, which the caller wipes
 * @throws {@link KmsError} what Decrypt would log: `ERR_KMS_UNKNOWN_KEY`, `ERR_KMS_KEY_RETIRED`, `ERR_KMS_AUTHENTICATION_FAILED`, …
 */
export function openDekSource(
  store: KeysetSource | RemoteKek,
  value: KmsValue,
  envelope: EnvelopeSummary,
): Promise<Buffer> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  return 'load' in store ? openWithKeyset(store, value, envelope, signal) : openWithToken(store, value, signal);
}

async function openWithKeyset(
  source: KeysetSource,
  { encryptedDekSource, keyId }: KmsValue,
  { format }: EnvelopeSummary,
  signal: AbortSignal,
): Promise<Buffer> {
  const keyset = await source.load({ signal });
  try {
    if (format === 'other' && keyset.legacy) {
      const opened = keyset.legacy.open(encryptedDekSource, keyId);
      if (opened) return opened.plaintext;
      throw new KmsError('ERR_KMS_AUTHENTICATION_FAILED', 'no legacy key of this instance opens it');
    }
    const envelope = namedEnvelope(encryptedDekSource, keyId);
    if (envelope.wrapped.length === 0) return keyset.find(envelope.keyId).open(envelope);
    throw new KmsError('ERR_KMS_AUTHENTICATION_FAILED', 'its key is in a token (HSM or TPM), and this keyset has none');
  } finally {
    keyset.destroy();
  }
}

async function openWithToken(
  remote: RemoteKek,
  { encryptedDekSource, keyId }: KmsValue,
  signal: AbortSignal,
): Promise<Buffer> {
  const envelope = namedEnvelope(encryptedDekSource, keyId);
  const { keys, contextId, manifest } = await remote.describe({ signal });
  if (!keys.some(({ id }) => id === envelope.keyId)) {
    const retired = manifest?.keys.some(({ id }) => id === envelope.keyId);
    if (retired) throw new KmsError('ERR_KMS_KEY_RETIRED', `key ${envelope.keyId} was retired`);
    throw new KmsError('ERR_KMS_UNKNOWN_KEY', `key ${envelope.keyId} is not in this keyset`);
  }
  if (envelope.wrapped.length === 0) {
    throw new KmsError(
      'ERR_KMS_AUTHENTICATION_FAILED',
      'it has no wrapped local KEK, and the keys of this store are in a token',
    );
  }
  const bytes = await remote.unwrap(envelope.keyId, envelope.wrapped, { signal });
  const key = new EnvelopeKey({ key: bytes, keyId: envelope.keyId, contextId, wrapped: envelope.wrapped });
  try {
    return key.open(envelope);
  } finally {
    key.destroy();
  }
}

/** @throws {@link KmsError} as {@link decodeEnvelope}, and `ERR_KMS_KEY_ID_MISMATCH` */
function namedEnvelope(ciphertext: Buffer, keyId: string | undefined): Envelope {
  const envelope = decodeEnvelope(ciphertext);
  if (keyId === undefined || keyId === envelope.keyId) return envelope;
  throw new KmsError('ERR_KMS_KEY_ID_MISMATCH', `the envelope names key ${envelope.keyId}, and the object another one`);
}
