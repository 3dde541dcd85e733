import { figure } from '@teapot-kms/testing';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import type { Cluster } from '../cluster.ts';
import { secret, SECRETS } from '../objects.ts';
import type { Scenario } from '../scenario.ts';
import { WriteLoad } from '../write-load.ts';

const TIMES = 4;
/** Writes between two restarts, in ms. */
const PAUSE_MS = 1_500;

/** Under v1 each write is a call of the plugin, so a gap shows at once. */
export const gracefulRestart: readonly Scenario[] = [
  {
    title: 'SIGTERM and a new start under writes: not one fails',
    run: (cluster) => underLoad(cluster, 'restarted', () => stopAndStart(cluster)),
  },
  {
    title: 'a hand-over to a successor under writes: not one fails',
    run: (cluster) => underLoad(cluster, 'handed-over', () => handOver(cluster)),
  },
];

async function underLoad({ client }: Cluster, name: string, restart: () => Promise<void>): Promise<void> {
  const load = new WriteLoad(client, { collection: SECRETS, name, make: secret, writers: 8 });
  try {
    for (let time = 0; time < TIMES; time++) {
      await sleep(PAUSE_MS);
      await restart();
    }
    await sleep(PAUSE_MS);
  } finally {
    await load.stop();
  }
  figure(
    `writes during ${TIMES} restarts of the plugin (${name})`,
    `${load.acknowledged}, failed ${load.failures.length}`,
  );
  assert.ok(load.acknowledged > 0);
  assert.is(load.failures.length, 0, load.failures[0]?.message);
  await load.verify();
}

async function stopAndStart({ plugin }: Cluster): Promise<void> {
  assert.is((await plugin.stop())?.code, 0);
  await plugin.start();
}

async function handOver({ plugin }: Cluster): Promise<void> {
  assert.is((await plugin.handOver())?.code, 0);
}
