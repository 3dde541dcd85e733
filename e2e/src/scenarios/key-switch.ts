import { figure, timed, until } from '@teapot-kms/testing';
import * as assert from 'uvu/assert';
import type { Cluster } from '../cluster.ts';
import { etcdPrefix, rewriteAll, secret, SECRETS, TEAPOTS } from '../objects.ts';
import type { Scenario } from '../scenario.ts';
import { parseStored } from '../stored-object.ts';

export const keySwitch: readonly Scenario[] = [
  {
    title: "a new key is seen within kube-apiserver's poll; old data is stale until it is rewritten, once",
    run: switchKey,
  },
  { title: 'all data rewritten, the old key retired: all is readable after a restart', run: retireOldKey },
];

async function switchKey(cluster: Cluster): Promise<void> {
  const { client, store, apiserver } = cluster;
  const oldKey = await store.primary();
  const { data } = await client.create(SECRETS, secret('stale'));
  assert.is((await cluster.storedV2(SECRETS, 'stale')).keyId, oldKey);

  const newKey = await store.rotate();
  assert.is.not(newKey, oldKey);
  const seconds = await timed(() => untilWrittenUnder(cluster, newKey));
  figure('seconds until kube-apiserver uses a new key', seconds.toFixed(1));
  assert.is((await apiserver.kmsHealth()).status, 200, 'a key switch never makes it unready');

  assert.is((await cluster.storedV2(SECRETS, 'stale')).keyId, oldKey);
  const before = await client.get(`${SECRETS}/stale`);
  const rewritten = await client.replace(`${SECRETS}/stale`, before);
  assert.is.not(rewritten.metadata.resourceVersion, before.metadata.resourceVersion, 'a stale object is rewritten');
  assert.is((await cluster.storedV2(SECRETS, 'stale')).keyId, newKey);
  const again = await client.replace(`${SECRETS}/stale`, rewritten);
  assert.is(again.metadata.resourceVersion, rewritten.metadata.resourceVersion, 'and only once');
  assert.equal(again.data, data);
}

async function retireOldKey(cluster: Cluster): Promise<void> {
  const { client, store, etcd, plugin, apiserver } = cluster;
  const before = await client.list(SECRETS);
  const current = await store.primary();
  const stored = await etcd.list(etcdPrefix(SECRETS));
  const oldKeys = new Set(stored.map(({ value }) => keyIdOf(value)).filter((keyId) => keyId !== current));
  assert.ok(oldKeys.size > 0, 'there is data under an old key');
  const seconds = await timed(() => rewriteAll(client, SECRETS));
  figure(`seconds to rewrite ${before.items.length} Secrets`, seconds.toFixed(1));
  await rewriteAll(client, TEAPOTS);
  for (const collection of [SECRETS, TEAPOTS]) {
    for (const { key, value } of await etcd.list(etcdPrefix(collection))) assert.is(keyIdOf(value), current, key);
  }
  for (const keyId of oldKeys) await store.retire(keyId);
  // A restarted plugin knows the old key only if it is still in the store.
  await plugin.restart();
  await apiserver.restart();
  const after = await client.list(SECRETS);
  const dataOf = ({ items }: typeof after): unknown[] => items.map(({ metadata, data }) => [metadata.name, data]);
  assert.equal(dataOf(after), dataOf(before));
  assert.is((await client.list(TEAPOTS)).items.length, 1);
  for (const code of ['FAILED_PRECONDITION', 'INVALID_ARGUMENT']) {
    assert.is(await plugin.calls('v2', 'Decrypt', code), 0, `Decrypts that ended with ${code}`);
  }
}

/** Writes until what is written is under this key; asks for kube-apiserver's health, as a kubelet's probe does. */
export async function untilWrittenUnder(cluster: Cluster, keyId: string): Promise<void> {
  const { client, apiserver } = cluster;
  await client.create(SECRETS, secret('probe')).catch(() => undefined);
  await until(
    `what is written is under ${keyId}`,
    async () => {
      await apiserver.kmsHealth();
      await client.replace(`${SECRETS}/probe`, secret('probe'));
      return (await cluster.storedV2(SECRETS, 'probe')).keyId === keyId;
    },
    { everyMs: 500 },
  );
}

function keyIdOf(value: Buffer): string {
  const stored = parseStored(value);
  return stored.version === 'v2' ? stored.keyId : 'v1';
}
