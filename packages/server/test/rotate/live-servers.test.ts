import { unavailable } from '@teapot-kms/core';
import { rejectsWithCode } from '@teapot-kms/testing';
import { Readable } from 'node:stream';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { keyIdHash } from '../../src/kms/key-id-hash.ts';
import { liveServers } from '../../src/rotate/live-servers.ts';
import type { MetricsReader } from '../../src/kubernetes/metric-lines.ts';
import { FakeKubernetes } from '../support/fake-kubernetes.ts';

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases';
const METRIC = 'apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds';

/** kube-apiservers whose Leases were renewed so many ms ago. */
function cluster(ages: Readonly<Record<string, number>>): FakeKubernetes {
  const kubernetes = new FakeKubernetes();
  const items = Object.entries(ages).map(([name, ageMs]) => ({
    metadata: { name, labels: { 'kubernetes.io/hostname': `host-of-${name}` } },
    spec: { renewTime: new Date(kubernetes.clock.wall() - ageMs).toISOString().replace('Z', '000Z') },
  }));
  kubernetes.documents.set(LEASES, { items });
  return kubernetes;
}

/** A kube-apiserver's metrics, in pieces that end anywhere. */
function reader(text: string, status = 200): MetricsReader {
  const stream = Readable.from((text.match(/[^]{1,7}/g) ?? []).map((piece) => Buffer.from(piece)));
  return { open: () => Promise.resolve({ status, stream }) } as unknown as MetricsReader;
}

const metrics = (server: string, keyId: string) =>
  [
    '# HELP process_start_time_seconds x',
    'process_start_time_seconds 1.7e+09',
    `some_other_metric{a="${'x'.repeat(100)}"} 1`,
    `${METRIC}{apiserver_id_hash="${keyIdHash(server)}",key_id_hash="${keyIdHash(keyId)}",provider_name="p"} 1.7000002e+09`,
    '',
  ].join('\n');

test('Leases say which servers there are, and metrics what they use', async () => {
  const readers = new Map([
    ['https://one', reader(metrics('apiserver-one', 'fresh'))],
    ['https://two', reader(metrics('apiserver-two', 'old'))],
  ]);
  const kubernetes = cluster({ 'apiserver-one': 5_000, 'apiserver-two': 9_000 });
  assert.equal(await liveServers(kubernetes, readers, 'p'), {
    views: [
      { server: 'apiserver-one on host-of-apiserver-one', keyIdHash: keyIdHash('fresh'), forMs: 200_000, since: 1.7e9 },
      { server: 'apiserver-two on host-of-apiserver-two', keyIdHash: keyIdHash('old'), forMs: 200_000, since: 1.7e9 },
    ],
    problems: [],
  });
});

test('a server that is alive and whose metrics nobody has read is not left out', async () => {
  const readers = new Map([
    ['https://balancer', reader(metrics('apiserver-one', 'fresh'))],
    ['https://again', reader(metrics('apiserver-one', 'fresh'))],
  ]);
  const { views } = await liveServers(cluster({ 'apiserver-one': 0, 'apiserver-two': 0 }), readers, 'p');
  assert.equal(
    views.map((view) => view.keyIdHash),
    [keyIdHash('fresh'), undefined],
  );
});

test('a server is gone when it has not renewed its Lease for five minutes', async () => {
  const kubernetes = cluster({ gone: 300_001, frozen: 299_000 });
  const { views } = await liveServers(kubernetes, new Map(), 'p');
  assert.equal(
    views.map(({ server }) => server),
    ['frozen on host-of-frozen'],
  );
});

test('metrics that cannot be read are a problem that is named, and the server counts as unseen', async () => {
  const down: MetricsReader = { open: () => Promise.reject(unavailable('https://down: ECONNREFUSED')) };
  const readers = new Map([
    ['https://down', down],
    ['https://forbidden', reader('', 403)],
    ['https://other', reader(metrics('apiserver-one', 'fresh').replaceAll('"p"', '"another"'))],
    ['https://endless', reader('x'.repeat(20_000))],
  ]);
  const { views, problems } = await liveServers(cluster({ 'apiserver-one': 0 }), readers, 'p');
  assert.is(views[0]!.keyIdHash, undefined);
  assert.equal([...problems].sort(), [
    'https://down: ECONNREFUSED',
    'https://endless/metrics: an answer that is too long',
    'https://forbidden/metrics: HTTP status 403',
    'https://other: not the metrics of a kube-apiserver with provider p',
  ]);
});

test('kube-apiservers without Leases are a problem that is named', async () => {
  const { views, problems } = await liveServers(cluster({}), new Map(), 'p');
  assert.equal(views, []);
  assert.match(problems[0]!, 'turn on its feature gate APIServerIdentity');
});

test('without an answer nothing is known', async () => {
  const error = await rejectsWithCode(
    () => liveServers(new FakeKubernetes(), new Map(), 'p'),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(error.message, /leases.*HTTP status 404/);
});

test.run();
