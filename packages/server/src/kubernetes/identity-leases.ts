import * as z from 'zod';
import { readJson } from './answers.ts';
import type { Api } from './answers.ts';

const COLLECTION = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases';
const SELECTOR = 'labelSelector=apiserver.kubernetes.io%2Fidentity%3Dkube-apiserver&limit=500';
/**
 * Age in ms of a Lease whose kube-apiserver can no longer write: it renews the Lease every ten seconds through etcd, and uses a seed for at most three
 * minutes after its last good Status. The rest is for clocks that differ.
 */
const DEAD_MS = 5 * 60_000;

const leaseSchema = z.object({
  metadata: z.object({
    name: z.string(),
    resourceVersion: z.string().optional(),
    labels: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.object({ renewTime: z.string().optional() }).optional(),
});
const leasesSchema = z.object({ items: z.array(leaseSchema) });

/** By it, a kube-apiserver says that it is alive (feature gate APIServerIdentity, on by default since 1.26). */
export interface IdentityLease {
  /** Also the server's id: metrics have its hash as `apiserver_id_hash`. */
  readonly name: string;
  readonly host: string | undefined;
}

/**
 * Returns the Leases of the kube-apiservers that may still write.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
 */
export async function identityLeases(api: Api): Promise<IdentityLease[]> {
  const { items } = await readJson(api, `${COLLECTION}?${SELECTOR}`, leasesSchema);
  const aliveSince = api.clock.wall() - DEAD_MS;
  return items
    .filter(({ spec }) => Date.parse(spec?.renewTime ?? '') >= aliveSince)
    .map(({ metadata: { name, labels } }) => ({ name, host: labels?.['kubernetes.io/hostname'] }));
}

/**
 * Returns the revision of etcd at which a Lease was written last.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
 */
export async function leaseRevision(api: Api, { name }: IdentityLease): Promise<number> {
  const { metadata } = await readJson(api, `${COLLECTION}/${encodeURIComponent(name)}`, leaseSchema);
  return Number(metadata.resourceVersion);
}

/** The key of a Lease in etcd. @param root - kube-apiserver's `--etcd-prefix` with a slash at its end */
export const leaseKey = (root: string, { name }: IdentityLease): Buffer =>
  Buffer.from(`${root}leases/kube-system/${name}`);
