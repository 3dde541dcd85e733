import { KmsError } from '@teapot-kms/core';
import type { EtcdClient } from '../etcd/client.ts';
import type { Api } from '../kubernetes/answers.ts';
import { identityLeases, leaseKey, leaseRevision } from '../kubernetes/identity-leases.ts';

/** A Lease is written every ten seconds: between two reads of etcd, at most once or twice. */
const MAX_TRIES = 5;

/**
 * Checks that an etcd is the one behind an API server: a scan of another cluster's etcd would retire keys that this one needs. A Lease that changes all
 * the time has the same revision in both.
 * @param root - kube-apiserver's `--etcd-prefix` with a slash at its end
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` for another one, and those of both clients
 */
export async function checkSameCluster(api: Api, etcd: Pick<EtcdClient, 'range'>, root: string): Promise<void> {
  const [lease] = await identityLeases(api);
  if (!lease) throw new KmsError('ERR_KMS_KEYSET_RULE', 'no kube-apiserver has an identity Lease', { remedy: ENABLE });
  const key = leaseKey(root, lease);
  const stored = async (): Promise<number | undefined> =>
    (await etcd.range({ key, limit: 1, revision: 0 })).objects[0]?.modRevision;
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const before = await stored();
    if (before === undefined) break;
    const seen = await leaseRevision(api, lease);
    if (before <= seen && seen <= ((await stored()) ?? 0)) return;
  }
  throw new KmsError('ERR_KMS_KEYSET_RULE', `etcd has another ${key.toString()} than the API server, or none`, {
    remedy: "name the etcd of this cluster with --etcd-servers, and kube-apiserver's --etcd-prefix",
  });
}

const ENABLE = 'turn on the feature gate APIServerIdentity of kube-apiserver';
