import { figure, fullRun, until } from '@teapot-kms/testing';
import * as assert from 'uvu/assert';
import type { Cluster } from '../cluster.ts';
import { secret, SECRETS } from '../objects.ts';
import type { Scenario } from '../scenario.ts';
import { WriteLoad } from '../write-load.ts';

const TIMES = fullRun ? 4 : 2;
/** Writes between two restarts. */
const WRITES = fullRun ? 300 : 100;

/**
 * Under v1 each write is a call of the plugin, so a gap shows at once. A hand-over has no gap. A stop and a start has one:
 * kube-apiserver then dials at once, 1 s later, 1.6 s later and so on (gRPC's back-off, ±20 %), and a call waits for a
 * connection as long as its timeout of 3 s. A write may therefore fail when the start takes longer than some 2 s, but
 * only by its own deadline, or with the news that the key store has not answered yet: the calls that were under way all
 * ended well.
 */
const SLOW_START = /code = DeadlineExceeded|the key store has not answered yet/;

export const gracefulRestart: readonly Scenario[] = [
  {
    title: 'SIGTERM and a new start under writes: no call that was under way fails, and later ones wait',
    run: (cluster) => underLoad(cluster, 'restarted', SLOW_START, () => stopAndStart(cluster)),
  },
  {
    title: 'a hand-over to a successor under writes: not one fails',
    run: (cluster) => underLoad(cluster, 'handed-over', undefined, () => handOver(cluster)),
  },
];

/** @param allowed - what a write that fails may say; none may fail where it is absent */
async function underLoad(
  { client }: Cluster,
  name: string,
  allowed: RegExp | undefined,
  restart: () => Promise<void>,
): Promise<void> {
  const load = new WriteLoad(client, { collection: SECRETS, name, make: secret, writers: 8 });
  const moreWrites = async (): Promise<void> => {
    const enough = load.acknowledged + WRITES;
    await until('writes go on', () => load.acknowledged >= enough, { everyMs: 20 });
  };
  try {
    await moreWrites();
    for (let time = 0; time < TIMES; time++) {
      await restart();
      await moreWrites();
    }
  } finally {
    await load.stop();
  }
  figure(
    `writes during ${TIMES} restarts of the plugin (${name})`,
    `${load.acknowledged}, failed ${load.failures.length}`,
  );
  for (const { message } of load.failures) assert.ok(allowed?.test(message), message);
  await load.verify();
}

async function stopAndStart({ plugin }: Cluster): Promise<void> {
  assert.is((await plugin.stop())?.code, 0);
  await plugin.start();
}

async function handOver({ plugin }: Cluster): Promise<void> {
  assert.is((await plugin.handOver())?.code, 0);
}
