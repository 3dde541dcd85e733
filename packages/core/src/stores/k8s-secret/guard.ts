import { createHash, X509Certificate } from 'node:crypto';
import { KmsError } from '../../errors.ts';

/** What `serves` says where nothing is to be compared. */
export const UNCHECKED = 'unchecked';

/**
 * Refuses a Secret of the very cluster whose kube-apiserver is served: it would be encrypted by itself, and lost with
 * the next restart (ADR 0014). Clusters are told apart by the public keys of their certificate authorities.
 *
 * @param served - `sha256:HEX` of the served cluster's CA, or {@link UNCHECKED}
 * @param ca - PEM of the authorities that the Secret's API server is trusted by
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI`
 */
export function refuseOwnCluster(served: string | undefined, ca: Buffer | undefined): void {
  if (served === UNCHECKED) return;
  const remedy = `set "serves" of its keys to the sha256 of that cluster's CA, or to "${UNCHECKED}"`;
  if (served === undefined) {
    throw new KmsError('ERR_KMS_INVALID_URI', `which cluster this instance serves is not said: ${remedy}`);
  }
  const holding = ca ? authorityHashes(ca) : [];
  if (holding.length === 0) {
    const why =
      "the kubeconfig names no certificate authority, so the Secret's cluster cannot be told from the served one";
    throw new KmsError(
      'ERR_KMS_INVALID_URI',
      `${why}: add certificate-authority to it, or set "serves" to "${UNCHECKED}"`,
    );
  }
  if (holding.includes(served)) {
    const why = 'this Secret is in the cluster that the instance serves, and would be encrypted by itself';
    throw new KmsError(
      'ERR_KMS_INVALID_URI',
      `${why} (both have the CA ${served}): keep it in another cluster, or use a file`,
    );
  }
}

/** `sha256:HEX` of the public key of each certificate: the form of kubeadm's `--discovery-token-ca-cert-hash`. */
export function authorityHashes(pem: Buffer): string[] {
  const certificates = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return certificates.map((one) => {
    const key = new X509Certificate(one).publicKey.export({ type: 'spki', format: 'der' });
    return `sha256:${createHash('sha256').update(key).digest('hex')}`;
  });
}
