import { figure, say, until } from '@teapot-kms/testing';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import type { Cluster } from '../cluster.ts';
import { CONFIG_MAPS, configMap, secret, SECRETS } from '../objects.ts';
import type { Scenario } from '../scenario.ts';
import { WriteLoad } from '../write-load.ts';

/** Secrets by KMS v1, where each write is a call of the plugin; ConfigMaps by v2. */
export const kills: readonly Scenario[] = [
  { title: 'the plugin is killed 8 times under writes', run: underWrites },
  {
    title: 'the plugin is killed 6 times around key switches',
    takesMinutes: true,
    run: aroundKeySwitches,
  },
  {
    title: 'the plugin is killed 3 times, each time with a writer of its keyset',
    takesMinutes: true,
    run: withKeysetWriters,
  },
  {
    title: 'the plugin is killed 3 times while kube-apiserver restarts',
    takesMinutes: true,
    run: whileApiserverRestarts,
  },
];

/** All writes of these scenarios; what was acknowledged in one is read back in all that follow. */
const loads = new WeakMap<Cluster, WriteLoad[]>();

async function underWrites(cluster: Cluster): Promise<void> {
  await underLoad(cluster, 'writes', async () => {
    for (let kill = 0; kill < 8; kill++) {
      await sleep(200 + Math.random() * 800);
      await killAndStart(cluster);
    }
  });
}

async function aroundKeySwitches(cluster: Cluster): Promise<void> {
  const { store, apiserver, client } = cluster;
  let probes = 0;
  await underLoad(cluster, 'switches', async () => {
    for (let round = 0; round < 2; round++) {
      const switching = store.rotate();
      // In the middle of the change of the keyset, right after it, and when kube-apiserver has begun to follow.
      await sleep(Math.random() * 800);
      await killAndStart(cluster);
      const newKey = await switching;
      await killAndStart(cluster);
      await apiserver.kmsHealth();
      await sleep(Math.random() * 3_000);
      await killAndStart(cluster);
      await until(
        'kube-apiserver writes under the new key',
        async () => {
          await apiserver.kmsHealth();
          const { metadata } = await client.create(CONFIG_MAPS, configMap(`probe-${round}-${probes++}`));
          return (await cluster.storedV2(CONFIG_MAPS, metadata.name)).keyId === newKey;
        },
        { everyMs: 500 },
      );
    }
  });
}

async function withKeysetWriters(cluster: Cluster): Promise<void> {
  const { store, plugin, apiserver } = cluster;
  if (!store.addKeyAndDie) {
    say(`SKIPPED kills of keyset writers in ${cluster.options.keyStore.name}: its fixture has no addKeyAndDie()`);
    return;
  }
  const primary = await store.primary();
  await underLoad(cluster, 'keyset-writers', async () => {
    for (let kill = 0; kill < 3; kill++) {
      const dying = store.addKeyAndDie?.();
      await sleep(100 + Math.random() * 400);
      await plugin.kill();
      await dying;
      await plugin.start();
      assert.is(await store.primary(), primary);
      await apiserver.untilKmsHealthy(true);
    }
    // What the dead writers left behind stops no later one. Many more of those than the plugin is killed for:
    for (let writer = 0; writer < 5; writer++) await store.addKeyAndDie?.();
    assert.is.not(await store.rotate(), primary);
  });
}

async function whileApiserverRestarts(cluster: Cluster): Promise<void> {
  const { apiserver, plugin } = cluster;
  await underLoad(cluster, 'restarts', async () => {
    for (let kill = 0; kill < 3; kill++) {
      await apiserver.stop();
      apiserver.spawn();
      await sleep(500 + Math.random() * 2_500);
      await plugin.kill();
      await sleep(Math.random() * 1_000);
      await plugin.start();
      await apiserver.untilReady();
    }
  });
}

/** The plugin dies without a word, and its supervisor starts it again. */
async function killAndStart({ plugin }: Cluster): Promise<void> {
  await plugin.kill();
  await plugin.start();
}

/** Writes Secrets and ConfigMaps during `work`, then reads back everything there is after a restart of kube-apiserver. */
async function underLoad(cluster: Cluster, name: string, work: () => Promise<void>): Promise<void> {
  const { client, apiserver } = cluster;
  const mine = [
    new WriteLoad(client, { collection: SECRETS, name: `${name}-v1`, make: secret, writers: 2 }),
    new WriteLoad(client, { collection: CONFIG_MAPS, name: `${name}-v2`, make: configMap, writers: 2 }),
  ];
  const all = [...(loads.get(cluster) ?? []), ...mine];
  loads.set(cluster, all);
  try {
    await work();
    await apiserver.untilKmsHealthy(true);
    await sleep(500);
  } finally {
    await Promise.all(mine.map((load) => load.stop()));
  }
  for (const load of mine) assert.ok(load.acknowledged > 0, 'something was written');
  await apiserver.restart();
  for (const load of all) await load.verify();
  const sum = (pick: (load: WriteLoad) => number): number => mine.reduce((total, load) => total + pick(load), 0);
  const acknowledged = sum((load) => load.acknowledged);
  figure(
    `kills (${name})`,
    `${acknowledged} writes acknowledged to ${sum((load) => load.objects)} objects, each read back as acknowledged last; ` +
      `${sum((load) => load.failures.length)} refused`,
  );
}
