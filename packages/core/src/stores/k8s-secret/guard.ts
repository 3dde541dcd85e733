import { createHash, X509Certificate } from 'node:crypto';
import { KmsError } from '../../errors.ts';

/** The value of `serves` that turns the guard off. */
export const UNCHECKED = 'unchecked';

/**
 * Refuses a Secret of the cluster whose kube-apiserver is served: it would be encrypted by itself, and lost with the next
 * restart (ADR 0014). The public keys of their certificate authorities tell clusters apart.
 *
 * @param served - `sha256:HEX` of the served cluster's CA, or {@link UNCHECKED}
 * @param ca - PEM of the authorities that the Secret's API server is trusted by
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI`
 */
export function refuseOwnCluster(served: string | undefined, ca: Buffer | undefined): void {
  if (served === UNCHECKED) return;
  if (served === undefined) {
    const remedy = `set "serves" of its keys to the sha256 of that cluster's CA, or to "${UNCHECKED}"`;
    throw refusal('the configuration does not say which cluster this instance serves', remedy);
  }
  const holding = ca ? authorityHashes(ca) : [];
  if (holding.length === 0) {
    throw refusal(
      "the kubeconfig names no certificate authority, so the Secret's cluster cannot be compared with the served one",
      `add certificate-authority to the kubeconfig, or set "serves" to "${UNCHECKED}"`,
    );
  }
  if (holding.includes(served)) {
    throw refusal(
      `this Secret is in the cluster that the instance serves, and would be encrypted by itself (both have the CA ${served})`,
      'keep the Secret in another cluster, or use a file: keyset',
    );
  }
}

/** Returns `sha256:HEX` of the public key of each certificate: the form of kubeadm's `--discovery-token-ca-cert-hash`. */
export function authorityHashes(pem: Buffer): string[] {
  const certificates = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return certificates.map((one) => {
    const key = new X509Certificate(one).publicKey.export({ type: 'spki', format: 'der' });
    return `sha256:${createHash('sha256').update(key).digest('hex')}`;
  });
}

const refusal = (message: string, remedy: string): KmsError => new KmsError('ERR_KMS_INVALID_URI', message, { remedy });
