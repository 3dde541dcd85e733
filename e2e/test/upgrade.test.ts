// A cluster that was encrypted under Kubernetes 1.28 moves to the newest version; then the plugin's settings for 1.28 go.
import { figure } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULT_KUBERNETES, findBinaries, registerUnlessMissing, OLDEST_KUBERNETES } from '../src/binaries.ts';
import { Cluster } from '../src/cluster.ts';
import { fileKeyStore } from '../src/key-stores/file.ts';
import { CONFIG_MAPS, configMap, rewriteAll, secret, SECRETS, untilDefaultNamespace } from '../src/objects.ts';

const test = suite(`from Kubernetes ${OLDEST_KUBERNETES} to ${DEFAULT_KUBERNETES}`);
let cluster: Cluster | undefined;
let failed = true;
test.after(() => cluster?.close(failed));

registerUnlessMissing(`the upgrade from Kubernetes ${OLDEST_KUBERNETES}`, () => {
  findBinaries(OLDEST_KUBERNETES);
  const { kubeApiserver } = findBinaries(DEFAULT_KUBERNETES);
  test('without the settings for 1.28 it is unready and says why; with them it recovers by itself', addSettings);
  test('what was written under KMS v1 and v2 is readable, and is rewritten under a seed', () => upgrade(kubeApiserver));
  test('the settings for 1.28 removed, it is unready until it restarts', removeSettings);
});

async function addSettings(): Promise<void> {
  cluster = await Cluster.create({
    name: 'upgrade',
    kubernetes: OLDEST_KUBERNETES,
    keyStore: fileKeyStore,
    encrypted: [
      { resources: ['secrets'], providers: ['v2'] },
      { resources: ['configmaps'], providers: ['v1'] },
    ],
    featureGates: ['KMSv1=true'],
  });
  const { plugin, store, apiserver, client } = cluster;
  plugin.configure(store, {});
  await plugin.start();
  apiserver.spawn();
  const complaint = await apiserver.untilKmsHealthy(false);
  figure('what kube-apiserver 1.28 says without its settings', complaint.trim());
  assert.match(complaint, /PROTOCOL_ERROR|expected KMSv2 API version v2beta1, got v2/);
  plugin.configure(store);
  await apiserver.untilReady();
  await untilDefaultNamespace(client);
}

async function upgrade(newBinary: string): Promise<void> {
  const { client, apiserver } = cluster!;
  const { data: secretData } = await client.create(SECRETS, secret('old'));
  const { data: mapData } = await client.create(CONFIG_MAPS, configMap('old'));
  assert.is((await cluster!.storedV2(SECRETS, 'old')).encryptedDekSourceType, 0);
  await cluster!.storedV1(CONFIG_MAPS, 'old');

  await apiserver.stop();
  apiserver.setBinary(newBinary);
  await apiserver.start();
  assert.equal((await client.get(`${SECRETS}/old`)).data, secretData);
  assert.equal((await client.get(`${CONFIG_MAPS}/old`)).data, mapData);
  await rewriteAll(client, SECRETS);
  assert.is((await cluster!.storedV2(SECRETS, 'old')).encryptedDekSourceType, 1);
  assert.equal((await client.get(`${SECRETS}/old`)).data, secretData);
}

async function removeSettings(): Promise<void> {
  const { plugin, store, apiserver, client } = cluster!;
  plugin.configure(store, {});
  assert.match(await apiserver.untilKmsHealthy(false), /version should not change/);
  await apiserver.restart();
  await client.get(`${SECRETS}/old`);
  await client.get(`${CONFIG_MAPS}/old`);
  failed = false;
}

test.run();
