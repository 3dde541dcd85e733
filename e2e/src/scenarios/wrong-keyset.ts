import { figure, Hopeless, until } from '@teapot-kms/testing';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import * as assert from 'uvu/assert';
import { ApiError } from '../api-client.ts';
import type { Cluster } from '../cluster.ts';
import { secret, SECRETS } from '../objects.ts';
import type { Scenario } from '../scenario.ts';

export const wrongKeyset: readonly Scenario[] = [
  {
    title: 'on another keyset reads fail with a clear error and nothing is garbled; on the right one all is back',
    run,
  },
];

async function run(cluster: Cluster): Promise<void> {
  const { client, plugin, apiserver, store, options, directory } = cluster;
  const { data } = await client.create(SECRETS, secret('precious'));
  const other = await options.keyStore.open(join(directory, 'other-store'));
  await plugin.stop();
  plugin.configure(other);
  // Otherwise it would refuse what this host has not used before.
  await plugin.confirmKeyset();
  await plugin.start();
  await apiserver.stop();
  apiserver.spawn();
  // It cannot become ready: its cache of Secrets never fills. It serves all the same.
  await apiserver.untilKmsHealthy(true);
  const error = await until('a read is refused by the storage', async () => {
    try {
      const { data: read } = await client.get(`${SECRETS}/precious`);
      throw new Hopeless(isDeepStrictEqual(read, data) ? 'it was read without its key' : 'it was read garbled');
    } catch (refused) {
      if (refused instanceof ApiError && refused.status === 500) return refused;
      throw refused;
    }
  });
  figure('what a reader sees with the wrong keyset', error.message);
  assert.match(error.message, /failed to decrypt DEK, error: rpc error: code = FailedPrecondition/);
  assert.ok((await plugin.calls('v2', 'Decrypt', 'FAILED_PRECONDITION')) > 0);
  assert.is(await plugin.calls('v2', 'Decrypt'), 0, 'nothing was decrypted');

  await plugin.stop();
  plugin.configure(store);
  await plugin.confirmKeyset();
  await plugin.start();
  // By itself, without another restart.
  await apiserver.untilReady();
  assert.equal((await client.get(`${SECRETS}/precious`)).data, data);
  assert.ok((await client.list(SECRETS)).items.length > 0);
  await other.dispose();
}
