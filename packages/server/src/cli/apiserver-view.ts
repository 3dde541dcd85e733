/** `KeyIDMaxSize` (k8s.io/apiserver kmsv2/envelope.go). */
const MAX_KEY_ID_BYTES = 1_024;

export interface StatusAnswer {
  readonly version: string;
  readonly healthz: string;
  readonly keyId: string;
}

/**
 * What kube-apiserver ≥ 1.29 finds wrong with an answer to Status, in the order of its own checks
 * (k8s.io/apiserver encryptionconfig/config.go `isKMSv2ProviderHealthyAndMaybeRotateDEK`).
 */
export function apiserverComplaints({ version, healthz, keyId }: StatusAnswer): string[] {
  const complaints: string[] = [];
  if (healthz !== 'ok')
    complaints.push(
      `healthz is ${JSON.stringify(healthz)}, it wants "ok": /readyz fails, writes go on while key_id is valid`,
    );
  if (version !== 'v2' && version !== 'v2beta1')
    complaints.push(`version is ${JSON.stringify(version)}, it wants "v2"`);
  if (keyId === '') complaints.push('key_id is empty: no writes 3 minutes after the last good answer');
  if (Buffer.byteLength(keyId) > MAX_KEY_ID_BYTES) complaints.push(`key_id is longer than ${MAX_KEY_ID_BYTES} bytes`);
  return complaints;
}
