import { figure, timed } from '@teapot-kms/testing';
import * as assert from 'uvu/assert';
import type { Cluster } from '../cluster.ts';
import { secret, SECRETS, untilDefaultNamespace } from '../objects.ts';
import type { Scenario } from '../scenario.ts';

export const latePlugin: readonly Scenario[] = [
  { title: 'started before the plugin, kube-apiserver says what it waits for, and is ready once the plugin is', run },
];

async function run({ apiserver, plugin, client }: Cluster): Promise<void> {
  apiserver.spawn();
  const { pid } = apiserver;
  const complaint = await apiserver.untilKmsHealthy(false);
  figure('what kube-apiserver says without the plugin', complaint.trim());
  assert.match(complaint, plugin.socket);
  const { status, body } = await client.text('/readyz?verbose');
  assert.is(status, 500);
  assert.match(body, /^\[-\]kms-providers failed/m);

  await plugin.start();
  figure(
    'seconds until ready after a late start of the plugin',
    (await timed(() => apiserver.untilReady())).toFixed(1),
  );
  assert.is(apiserver.pid, pid, 'no restart of kube-apiserver');
  await untilDefaultNamespace(client);
  await client.create(SECRETS, secret('after-a-late-start'));
}
