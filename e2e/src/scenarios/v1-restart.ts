import { figure, fullRun, timed } from '@teapot-kms/testing';
import { decodeEnvelope } from '@teapot-kms/core';
import * as assert from 'uvu/assert';
import type { Cluster } from '../cluster.ts';
import { etcdPrefix, inParallel, secret, SECRETS } from '../objects.ts';
import { V1_PROVIDER } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import { parseStored } from '../stored-object.ts';

const COUNT = fullRun ? 2_000 : 400;

export const v1Restart: readonly Scenario[] = [
  { title: `KMS v1: ${COUNT} Secrets, each with a key of its own from the plugin`, run: write },
  { title: `KMS v1: a restarted kube-apiserver decrypts each of ${COUNT} Secrets, and then no more`, run: restart },
];

async function write(cluster: Cluster): Promise<void> {
  const { client, plugin, etcd, store } = cluster;
  const before = await plugin.calls('v1beta1', 'Encrypt');
  const names = Array.from({ length: COUNT }, (_, index) => `v1-${index}`);
  const seconds = await timed(() => inParallel(names, 16, (name) => client.create(SECRETS, secret(name))));
  figure('v1 writes per second', Math.round(COUNT / seconds));
  assert.ok((await plugin.calls('v1beta1', 'Encrypt')) - before >= COUNT);
  const primary = await store.primary();
  const keys = new Set<string>();
  for (const { key, value } of await etcd.list(etcdPrefix(SECRETS))) {
    const stored = parseStored(value);
    if (stored.version !== 'v1') throw new Error(`${key} is stored as KMS v2`);
    assert.is(stored.provider, V1_PROVIDER);
    assert.is(decodeEnvelope(stored.encryptedDek).keyId, primary);
    keys.add(stored.encryptedDek.toString('base64'));
    assert.not.ok(value.includes('metadata'), 'plaintext in etcd');
  }
  assert.is(keys.size, COUNT);
}

async function restart({ client, plugin, apiserver }: Cluster): Promise<void> {
  const before = await client.list(SECRETS);
  const calls = async (): Promise<[decrypts: number, encrypts: number]> => [
    await plugin.calls('v1beta1', 'Decrypt'),
    await plugin.calls('v1beta1', 'Encrypt'),
  ];
  await apiserver.stop();
  const [decryptsBefore, encryptsBefore] = await calls();
  const seconds = await timed(() => apiserver.start());
  figure(`seconds until ready with ${COUNT} Secrets (v1)`, seconds.toFixed(1));
  const after = await client.list(SECRETS);
  const dataOf = ({ items }: typeof after): unknown[] => items.map(({ metadata, data }) => [metadata.name, data]);
  assert.equal(dataOf(after), dataOf(before));
  const [decryptsAfter, encryptsAfter] = await calls();
  // kube-apiserver's health check encrypts "ping" and decrypts that; nothing else was written meanwhile.
  const pings = encryptsAfter - encryptsBefore;
  const decrypts = decryptsAfter - decryptsBefore - pings;
  const reads = (await client.metrics()).sum('apiserver_storage_transformation_operations_total', {
    transformer_prefix: `k8s:enc:kms:v1:${V1_PROVIDER}:`,
    transformation_type: 'from_storage',
    status: 'OK',
  });
  figure(`Decrypts at a restart for ${COUNT} Secrets (v1); objects read from etcd`, `${decrypts}; ${reads}`);
  // kube-apiserver lists all Secrets for its cache, and until that is filled once or twice more for informers of its
  // own. What two lists read at the same time is asked for twice: it has no single flight.
  assert.ok(decrypts >= before.items.length, 'each Secret has a key of its own');
  assert.ok(decrypts <= reads, 'at most one Decrypt for each read');
  const [decryptsLater, encryptsLater] = await calls();
  assert.is(decryptsLater - encryptsLater, decryptsAfter - encryptsAfter, 'and none later');
}
