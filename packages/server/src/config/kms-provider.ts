/** A provider `kms` of an EncryptionConfiguration (k8s.io/apiserver pkg/apis/apiserver/v1, KMSConfiguration). */
export function kmsProvider({ name, socket, version }: { name: string; socket: string; version: 'v1' | 'v2' }) {
  return {
    apiVersion: version,
    name,
    endpoint: `unix://${socket}`,
    timeout: '3s',
    // KMS v1 caches this many data keys, and each miss is a call. KMS v2 has no such limit.
    ...(version === 'v1' && { cachesize: 10_000 }),
  };
}

/** Names must be unique in the file and must never change: the prefix of encrypted data contains them. */
export const providerName = (instance: string): string => `teapot-${instance}`;
