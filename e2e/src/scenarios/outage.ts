import { figure, timed } from '@teapot-kms/testing';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import type { KubeObject } from '../api-client.ts';
import type { Cluster } from '../cluster.ts';
import { secret, SECRETS } from '../objects.ts';
import type { Scenario } from '../scenario.ts';

export const outage: readonly Scenario[] = [
  { title: 'the plugin is down for a short time: unready, but reads and writes go on', run: pluginDown },
  { title: 'the key store is away: unready with the reason, but reads and writes go on', run: storeAway },
  {
    title: 'the key store is away: writes still go on after more than three minutes',
    takesMinutes: true,
    run: writesGoOn,
  },
  {
    title: 'the plugin is down: writes fail three minutes after its last good answer, reads go on, and all recovers',
    takesMinutes: true,
    run: untilWritesExpire,
  },
];

/** kmsv2PluginWriteDEKSourceMaxTTL */
const EXPIRY_SECONDS = 180;
/** A last good answer may be this old when the plugin stops. */
const POLL_SECONDS = 60;
const SLACK_SECONDS = 60;

async function pluginDown({ apiserver, plugin, client }: Cluster): Promise<void> {
  await client.create(SECRETS, secret('before-the-outage'));
  assert.is((await plugin.stop())?.code, 0);
  const seconds = await timed(() => apiserver.untilKmsHealthy(false));
  figure('seconds until kube-apiserver notices that the plugin is down', seconds.toFixed(1));
  assert.is((await client.text('/readyz')).status, 500);
  await client.create(SECRETS, secret('during-the-outage'));
  await client.get(`${SECRETS}/before-the-outage`);
  await plugin.start();
  figure(
    'seconds until ready after the plugin is back',
    (await timed(() => apiserver.untilKmsHealthy(true))).toFixed(1),
  );
  await apiserver.untilReady();
}

async function storeAway(cluster: Cluster): Promise<void> {
  const { apiserver, store, client } = cluster;
  const primary = await store.primary();
  const putBack = await store.takeAway();
  const complaint = await apiserver.untilKmsHealthy(false);
  figure('what kube-apiserver says while the key store is away', complaint.trim());
  assert.match(complaint, 'unexpected healthz status');
  await client.create(SECRETS, secret('store-away'));
  assert.is((await cluster.storedV2(SECRETS, 'store-away')).keyId, primary);
  await putBack();
  await apiserver.untilKmsHealthy(true);
  await apiserver.untilReady();
}

async function untilWritesExpire({ apiserver, plugin, client }: Cluster): Promise<void> {
  await client.create(SECRETS, secret('before-a-long-outage'));
  await apiserver.kmsHealth();
  await plugin.stop();
  let refusal: Error | undefined;
  const seconds = await timed(async () => {
    refusal = await writeUntilRefused(client, 'plugin-down', EXPIRY_SECONDS + SLACK_SECONDS);
  });
  figure('seconds until writes fail after the plugin stopped', seconds.toFixed(0));
  assert.ok(refusal, 'writes go on without end');
  assert.match(refusal.message, /expired/);
  assert.ok(seconds > EXPIRY_SECONDS - POLL_SECONDS, `after ${seconds} s already`);
  await client.get(`${SECRETS}/before-a-long-outage`);
  await client.list(SECRETS);

  await plugin.start();
  // gRPC's own back-off: up to two minutes when it has failed for some.
  const healing = await timed(() => apiserver.untilKmsHealthy(true, 180_000));
  figure('seconds until healthy after an outage of three minutes', healing.toFixed(0));
  await client.create(SECRETS, secret('after-the-outage'));
}

async function writesGoOn({ apiserver, store, client }: Cluster): Promise<void> {
  const putBack = await store.takeAway();
  await apiserver.untilKmsHealthy(false);
  const refusal = await writeUntilRefused(client, 'store-away', EXPIRY_SECONDS + POLL_SECONDS);
  assert.is(refusal, undefined, refusal?.message);
  assert.is((await apiserver.kmsHealth()).status, 500, 'it is unready all along');
  await putBack();
  await apiserver.untilKmsHealthy(true);
}

interface Writer {
  create(path: string, object: KubeObject): Promise<KubeObject>;
}

/** Writes every few seconds, for so long; stops at the first refusal. */
async function writeUntilRefused(client: Writer, name: string, seconds: number): Promise<Error | undefined> {
  const end = performance.now() + seconds * 1000;
  for (let count = 0; performance.now() < end; count++) {
    try {
      await client.create(SECRETS, secret(`${name}-${count}`));
    } catch (error) {
      return error as Error;
    }
    await sleep(2_000);
  }
  return undefined;
}
