import { figure, timed } from '@teapot-kms/testing';
import * as assert from 'uvu/assert';
import type { MetricsText } from '../metrics.ts';
import type { Cluster } from '../cluster.ts';
import { isKmsV2Beta } from '../kubernetes-minors.ts';
import { etcdPrefix, inParallel, secret, SECRETS, TEAPOTS } from '../objects.ts';
import { V2_PROVIDER } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import { parseStored } from '../stored-object.ts';

const COUNT = 1_000;

export const oneSeed: readonly Scenario[] = [
  { title: `${COUNT} Secrets are written with one seed, and cost no call of the plugin`, run: write },
  { title: 'a restarted kube-apiserver decrypts each seed, not each Secret', run: restart },
];

async function write(cluster: Cluster): Promise<void> {
  const { client, plugin } = cluster;
  const before = kmsCalls(await client.metrics(), 'Encrypt');
  const pluginBefore = await plugin.calls('v2', 'Encrypt');
  const names = Array.from({ length: COUNT }, (_, index) => `seed-${index}`);
  const seconds = await timed(() => inParallel(names, 16, (name) => client.create(SECRETS, secret(name))));
  figure('v2 writes per second', Math.round(COUNT / seconds));
  const seeds = await seedsInEtcd(cluster, 'seed-');
  assert.is(seeds.size, 1);
  assert.is(kmsCalls(await client.metrics(), 'Encrypt'), before);
  assert.is(await plugin.calls('v2', 'Encrypt'), pluginBefore);
}

async function restart(cluster: Cluster): Promise<void> {
  const { client, plugin, apiserver } = cluster;
  const seeds = await seedsInEtcd(cluster);
  const pluginBefore = await plugin.calls('v2', 'Decrypt');
  const seconds = await timed(() => apiserver.restart());
  figure(`seconds until ready with ${COUNT} Secrets (v2)`, seconds.toFixed(1));
  const { items } = await client.list(SECRETS);
  assert.ok(items.length >= COUNT);
  const metrics = await client.metrics();
  const decrypts = kmsCalls(metrics, 'Decrypt');
  figure(`Decrypts at a restart for ${COUNT} Secrets under ${seeds.size} seed(s) (v2)`, decrypts);
  // kube-apiserver does not merge concurrent Decrypts of one seed. 1.37 decodes ten objects of a list at a time, and lists
  // Secrets two or three times until its cache is filled.
  assert.ok(decrypts >= seeds.size && decrypts < COUNT / 10, `${decrypts} Decrypts, ${seeds.size} seeds`);
  assert.is((await plugin.calls('v2', 'Decrypt')) - pluginBefore, decrypts, 'both sides count the same');
  const encrypts = kmsCalls(metrics, 'Encrypt');
  if (isKmsV2Beta(cluster.options.kubernetes)) {
    // It loads its configuration again when it begins to watch the file, and drops what it has loaded.
    assert.ok(encrypts === 1 || encrypts === 2, `${encrypts} new data keys at the start`);
    return;
  }
  assert.is(encrypts, 1, 'one new seed at the start');
  const cached = metrics.sum('apiserver_envelope_encryption_dek_source_cache_size', { provider_name: V2_PROVIDER });
  assert.is(cached, seeds.size, 'dek_source_cache_size');
}

export function kmsCalls(metrics: MetricsText, method: 'Encrypt' | 'Decrypt' | 'Status'): number {
  const name = 'apiserver_envelope_encryption_kms_operations_latency_seconds_count';
  const labels = { provider_name: V2_PROVIDER, grpc_status_code: 'OK' };
  return ['', 'Request'].reduce(
    (total, suffix) =>
      total + metrics.sum(name, { ...labels, method_name: `/v2.KeyManagementService/${method}${suffix}` }),
    0,
  );
}

/** The distinct seeds that objects in etcd are encrypted under. */
async function seedsInEtcd({ etcd }: Cluster, namePrefix = ''): Promise<Set<string>> {
  const stored = await Promise.all([SECRETS, TEAPOTS].map((collection) => etcd.list(etcdPrefix(collection))));
  return new Set(
    stored.flat().flatMap(({ key, value }) => {
      if (!(key.split('/').at(-1) ?? '').startsWith(namePrefix)) return [];
      const object = parseStored(value);
      return object.version === 'v2' ? [object.encryptedDekSource.toString('base64')] : [];
    }),
  );
}
