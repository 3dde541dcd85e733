import { figure, timed } from '@teapot-kms/testing';
import * as assert from 'uvu/assert';
import type { Cluster } from '../cluster.ts';
import { etcdPrefix, rewriteAll, SECRETS } from '../objects.ts';
import { V2_PROVIDER } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import { parseStored } from '../stored-object.ts';

export const v1ToV2: readonly Scenario[] = [
  { title: 'from KMS v1 to v2 over the same socket: both read, rewritten Secrets are v2, then v1 can go', run },
];

async function run(cluster: Cluster): Promise<void> {
  const { client, apiserver, plugin } = cluster;
  const before = await client.list(SECRETS);
  assert.ok((await versionsInEtcd(cluster)).has('v1'));

  await apiserver.stop();
  await cluster.encrypt([{ resources: ['secrets'], providers: ['v2', 'v1'] }], ['KMSv1=true']);
  await apiserver.start();
  assert.equal(dataOf(await client.list(SECRETS)), dataOf(before), 'what v1 wrote is readable');
  const seconds = await timed(() => rewriteAll(client, SECRETS));
  figure(`seconds to move ${before.items.length} Secrets from v1 to v2`, seconds.toFixed(1));
  assert.equal([...(await versionsInEtcd(cluster))], ['v2']);

  await apiserver.stop();
  await cluster.encrypt([{ resources: ['secrets'], providers: ['v2'] }], []);
  const v1Calls = await plugin.calls('v1beta1', 'Decrypt');
  await apiserver.start();
  assert.equal(dataOf(await client.list(SECRETS)), dataOf(before), 'all is readable without v1');
  assert.is(await plugin.calls('v1beta1', 'Decrypt'), v1Calls, 'v1 is not used any more');
}

async function versionsInEtcd({ etcd }: Cluster): Promise<Set<string>> {
  const stored = (await etcd.list(etcdPrefix(SECRETS))).map(({ value }) => parseStored(value));
  for (const object of stored) if (object.version === 'v2') assert.is(object.provider, V2_PROVIDER);
  return new Set(stored.map(({ version }) => version));
}

function dataOf({ items }: Awaited<ReturnType<Cluster['client']['list']>>): unknown[] {
  return items.map(({ metadata, data }) => [metadata.name, data]);
}
