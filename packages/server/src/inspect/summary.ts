import { keyIdHash } from '../kms/key-id-hash.ts';
import { problemOf, summaryOf } from './envelope-summary.ts';
import type { EnvelopeSummary } from './envelope-summary.ts';
import type { DekSourceType, StoredValue } from './stored-value.ts';

/** What can be said of a value in etcd without any key: plain JSON, without plaintext. */
export interface ValueSummary {
  readonly provider: StoredValue['provider'];
  /** KMS: `v1` or `v2`. */
  readonly apiVersion?: string;
  /** In the EncryptionConfiguration: of the KMS provider, or of the key. */
  readonly name?: string;
  /** Of plain text. */
  readonly encoding?: string;
  /** KMS v2: what the plugin called its key. */
  readonly keyId?: string;
  /** As in kube-apiserver's metrics. KMS v1: of the key that an envelope of Teapot KMS names. */
  readonly keyIdHash?: string;
  readonly dekSource?: { readonly type: DekSourceType; readonly bytes: number };
  /** Names only. */
  readonly annotations?: readonly string[];
  readonly envelope?: EnvelopeSummary;
  /** Why no plugin decrypts it. */
  readonly problem?: string;
}

export function summarize(stored: StoredValue): ValueSummary {
  if (stored.provider === 'identity') return stored;
  const { provider, name } = stored;
  if (provider !== 'kms') return { provider, name };
  const { apiVersion, keyId, encryptedDekSource, dekSourceType: type, annotations } = stored;
  const envelope = summaryOf(encryptedDekSource);
  const known = keyId ?? (envelope.format === 'teapot-v1' ? envelope.keyId : undefined);
  const problem = problemOf(stored, envelope);
  return {
    provider,
    apiVersion,
    name,
    ...(keyId !== undefined && { keyId }),
    ...(known !== undefined && { keyIdHash: keyIdHash(known) }),
    dekSource: { type, bytes: encryptedDekSource.length },
    annotations: [...annotations.keys()],
    envelope,
    ...(problem !== undefined && { problem }),
  };
}
