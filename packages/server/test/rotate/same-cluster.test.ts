import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { RangeAnswer, RangeRequest } from '../../src/etcd/range.ts';
import { checkSameCluster } from '../../src/rotate/same-cluster.ts';
import { FakeKubernetes } from '../support/fake-kubernetes.ts';

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases';

/** An API server whose Lease was written at this revision. */
function cluster(revision: number): FakeKubernetes {
  const kubernetes = new FakeKubernetes();
  const metadata = { name: 'apiserver-one', resourceVersion: String(revision) };
  const lease = { metadata, spec: { renewTime: new Date(kubernetes.clock.wall()).toISOString() } };
  kubernetes.documents.set(LEASES, { items: [lease] });
  kubernetes.documents.set(`${LEASES}/apiserver-one`, lease);
  return kubernetes;
}

/** An etcd with these revisions of the Lease, one read after the other. */
function etcd(...revisions: readonly (number | undefined)[]) {
  const left = [...revisions];
  const keys: string[] = [];
  const range = ({ key }: RangeRequest) => {
    keys.push(key.toString());
    const modRevision = left.length > 1 ? left.shift() : left[0];
    const objects = modRevision === undefined ? [] : [{ key, value: key, modRevision }];
    return Promise.resolve({ objects } as unknown as RangeAnswer);
  };
  return { range, keys };
}

test('the same Lease at the same revision', async () => {
  const client = etcd(900);
  await checkSameCluster(cluster(900), client, '/registry/');
  assert.equal(client.keys, Array(2).fill('/registry/leases/kube-system/apiserver-one'));
});

test('a Lease that is written meanwhile is read again', async () => {
  await checkSameCluster(cluster(900), etcd(880, 890, 890, 900), '/registry/');
});

for (const [what, client] of [
  ['no such Lease', etcd(undefined)],
  ['another revision', etcd(77)],
  ['a newer revision', etcd(901)],
] as const) {
  test(`an etcd with ${what} is another cluster's`, async () => {
    const error = await rejectsWithCode(() => checkSameCluster(cluster(900), client, '/r/'), 'ERR_KMS_KEYSET_RULE');
    assert.match(error.message, 'etcd has another /r/leases/kube-system/apiserver-one than the API server, or none');
    assert.match(error.remedy!, '--etcd-servers');
  });
}

test('without a Lease nothing can be compared', async () => {
  const kubernetes = new FakeKubernetes();
  kubernetes.documents.set(LEASES, { items: [] });
  await rejectsWithCode(() => checkSameCluster(kubernetes, etcd(1), '/registry/'), 'ERR_KMS_KEYSET_RULE');
});

test.run();
