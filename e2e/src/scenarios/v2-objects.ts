import { figure, until } from '@teapot-kms/testing';
import * as assert from 'uvu/assert';
import type { WatchEvent } from '../api-client.ts';
import type { Cluster } from '../cluster.ts';
import { isKmsV2Beta } from '../kubernetes-minors.ts';
import { defineTeapots, etcdKey, etcdPrefix, secret, SECRETS, TEAPOTS, teapotObject } from '../objects.ts';
import { V2_PROVIDER } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import { overheadOf } from '../stored-object.ts';

const PLAINTEXT = 'short-and-stout-0123456789';

export const v2Objects: readonly Scenario[] = [
  { title: 'Secrets: create, read, list, update, delete; etcd holds only ciphertext', run: secrets },
  { title: 'a watch shows each change in the clear', run: watch },
  { title: 'custom resources are encrypted as Secrets are', run: customResources },
];

async function secrets(cluster: Cluster): Promise<void> {
  const { client, store } = cluster;
  const written = await client.create(SECRETS, secret('life', Buffer.from(PLAINTEXT)));
  await checkStored(cluster, SECRETS, 'life');
  assert.equal((await client.get(`${SECRETS}/life`)).data, written.data);

  const changed = secret('life', Buffer.from(`${PLAINTEXT} changed`));
  await client.replace(`${SECRETS}/life`, changed);
  await checkStored(cluster, SECRETS, 'life');
  assert.equal((await client.get(`${SECRETS}/life`)).data, changed.data);
  const listed = (await client.list(SECRETS)).items.find(({ metadata }) => metadata.name === 'life');
  assert.equal(listed?.data, changed.data);

  const stored = await cluster.storedV2(SECRETS, 'life');
  assert.is(stored.provider, V2_PROVIDER);
  assert.is(stored.keyId, await store.primary());
  assert.is(stored.encryptedDekSourceType, isKmsV2Beta(cluster.options.kubernetes) ? 0 : 1);
  const overhead = overheadOf(stored);
  figure(`bytes stored with each object (${cluster.options.keyStore.name})`, overhead);
  assert.ok(overhead <= cluster.options.keyStore.maxOverheadBytes, `${overhead} bytes`);

  await client.delete(`${SECRETS}/life`);
  assert.is(await cluster.etcd.get(etcdKey(SECRETS, 'life')), undefined);
  const metrics = await client.metrics();
  const labels = { transformer_prefix: `k8s:enc:kms:v2:${V2_PROVIDER}:`, status: 'OK' };
  for (const direction of ['to_storage', 'from_storage']) {
    const name = 'apiserver_storage_transformation_operations_total';
    assert.ok(metrics.sum(name, { ...labels, transformation_type: direction }) > 0, `${name} ${direction}`);
  }
}

async function watch({ client }: Cluster): Promise<void> {
  const seen: WatchEvent[] = [];
  const { metadata } = await client.list(SECRETS);
  const watching = (async () => {
    for await (const event of client.watch(SECRETS, metadata.resourceVersion)) {
      if (event.object.metadata.name === 'watched') seen.push(event);
      if (event.type === 'DELETED') return;
    }
  })();
  const contents = ['one', 'two'].map((text) => Buffer.from(text).toString('base64'));
  await client.create(SECRETS, { ...secret('watched'), data: { value: contents[0]! } });
  await client.patch(`${SECRETS}/watched`, { data: { value: contents[1] } });
  await client.delete(`${SECRETS}/watched`);
  await watching;
  assert.equal(
    seen.map(({ type, object }) => [type, object.data?.['value']]),
    [
      ['ADDED', contents[0]],
      ['MODIFIED', contents[1]],
      ['DELETED', contents[1]],
    ],
  );
}

async function customResources(cluster: Cluster): Promise<void> {
  const { client } = cluster;
  await defineTeapots(client);
  await client.create(TEAPOTS, teapotObject('brown-betty', PLAINTEXT));
  await checkStored(cluster, TEAPOTS, 'brown-betty');
  assert.equal((await client.get(`${TEAPOTS}/brown-betty`))['spec'], { contents: PLAINTEXT });
  await client.patch(`${TEAPOTS}/brown-betty`, { spec: { contents: `${PLAINTEXT}, warmed` } });
  assert.equal((await client.list(TEAPOTS)).items.length, 1);
  // The CRD's own watch cache starts late: the list must come from the same bytes.
  const { contents } = (await client.list(TEAPOTS)).items[0]?.['spec'] as { contents: string };
  assert.is(contents, `${PLAINTEXT}, warmed`);
  assert.is((await cluster.storedV2(TEAPOTS, 'brown-betty')).keyId, await cluster.store.primary());
  await client.create(TEAPOTS, teapotObject('chipped', PLAINTEXT));
  await client.delete(`${TEAPOTS}/chipped`);
  await until('the deleted teapot is gone', async () => (await cluster.etcd.list(etcdPrefix(TEAPOTS))).length === 1);
}

/** The bytes in etcd: our provider's prefix, and nothing of the plaintext. */
async function checkStored({ etcd }: Cluster, collection: string, name: string): Promise<void> {
  const value = await etcd.get(etcdKey(collection, name));
  assert.ok(value, 'it is in etcd');
  const prefix = `k8s:enc:kms:v2:${V2_PROVIDER}:`;
  assert.is(value.subarray(0, prefix.length).toString(), prefix);
  for (const text of [PLAINTEXT, Buffer.from(PLAINTEXT).toString('base64'), name, 'metadata']) {
    assert.not.ok(value.includes(text), `"${text}" is in etcd in the clear`);
  }
}
