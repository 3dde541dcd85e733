/** `KeyIDMaxSize` (k8s.io/apiserver kmsv2/envelope.go). */
const MAX_KEY_ID_BYTES = 1_024;

export interface StatusAnswer {
  readonly version: string;
  readonly healthz: string;
  readonly keyId: string;
}

/**
 * Returns the problems that kube-apiserver ≥ 1.29 finds in an answer to Status, in the order of its own checks
 * (k8s.io/apiserver encryptionconfig/config.go `isKMSv2ProviderHealthyAndMaybeRotateDEK`).
 */
export function apiserverComplaints({ version, healthz, keyId }: StatusAnswer): string[] {
  const complaints: string[] = [];
  if (healthz !== 'ok')
    complaints.push(
      `healthz: expected "ok", found ${JSON.stringify(healthz)}; /readyz fails, and writes still work while key_id is valid`,
    );
  if (version !== 'v2' && version !== 'v2beta1')
    complaints.push(`version: expected "v2", found ${JSON.stringify(version)}`);
  if (keyId === '') complaints.push('key_id is empty, so writes fail 3 minutes after the last good answer');
  if (Buffer.byteLength(keyId) > MAX_KEY_ID_BYTES)
    complaints.push(`key_id: expected at most ${MAX_KEY_ID_BYTES} bytes, found ${Buffer.byteLength(keyId)}`);
  return complaints;
}
