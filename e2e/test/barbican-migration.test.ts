/**
 * docs/barbican.md, "Coming from barbican-kms-plugin", step by step: Secrets (KMS v2) and ConfigMaps (KMS v1) written in the old
 * plugin's format under its provider's name and socket -> switch -> rewrite -> the legacy key removed.
 */
import { Daemon, launcher, OpenStack } from '@teapot-kms/testing/daemons';
import { figure, rememberSecret, timed, until } from '@teapot-kms/testing';
import { decodeEnvelope } from '@teapot-kms/core';
import { KmsClient } from '@teapot-kms/server';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findBinaries, kubernetesVersions, MissingBinary } from '../src/binaries.ts';
import { Etcd } from '../src/etcd.ts';
import { cloudConf, payloadOf, skipWithoutOpenStack } from '../src/key-stores/barbican.ts';
import { KubeApiserver } from '../src/kube-apiserver.ts';
import { instanceSettings, isKmsV2Beta } from '../src/kubernetes-minors.ts';
import { startLegacyPlugin } from '../src/legacy-plugin.ts';
import {
  CONFIG_MAPS,
  configMap,
  etcdPrefix,
  rewriteAll,
  secret,
  SECRETS,
  untilDefaultNamespace,
} from '../src/objects.ts';
import { parseStored } from '../src/stored-object.ts';
import { teapot } from '../src/teapot-cli.ts';

const SECRETS_MADE = 20;

/**
 * As the documentation of barbican-kms-plugin has it: the provider is called `barbican`. What KMS v1 wrote is moved to v2.
 * `oldV1` has nothing else, as 1.28 refuses that plugin's version of v2.
 */
function encryptionConfiguration(socket: string, stage: 'old' | 'oldV1' | 'rewriting' | 'new'): string {
  const endpoint = `endpoint: "unix://${socket}", timeout: 3s`;
  const v2 = `      - kms: { apiVersion: v2, name: barbican, ${endpoint} }\n`;
  const v1 = `      - kms: { apiVersion: v1, name: barbican-v1, ${endpoint}, cachesize: 100 }\n`;
  const entry = (resources: string, providers: string) =>
    `  - resources: [${resources}]\n    providers:\n${providers}      - identity: {}\n`;
  const entries = {
    old: entry('secrets', v2) + entry('configmaps', v1),
    oldV1: entry('secrets, configmaps', v1),
    rewriting: entry('secrets, configmaps', v2 + v1),
    new: entry('secrets, configmaps', v2),
  };
  return `apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n${entries[stage]}`;
}

skipWithoutOpenStack();
for (const kubernetes of kubernetesVersions()) {
  try {
    findBinaries(kubernetes);
    test(`from barbican-kms-plugin, Kubernetes ${kubernetes}`, () => migrate(kubernetes));
  } catch (error) {
    if (!(error instanceof MissingBinary)) throw error;
    console.log(`SKIPPED the way in from barbican-kms-plugin on Kubernetes ${kubernetes}: ${error.message}`);
  }
}

async function migrate(kubernetes: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'teapot-mig-'));
  const binaries = findBinaries(kubernetes);
  const onlyV1 = isKmsV2Beta(kubernetes);
  const openStack = await OpenStack.start(join(directory, 'cloud'), { tokenCache: 300 });
  const etcd = await Etcd.start(binaries, directory);
  const socket = join(directory, 'kms/kms.sock');
  const log = join(directory, 'plugin.log');
  const apiserver = await KubeApiserver.prepare({
    binary: binaries.kubeApiserver,
    directory,
    etcdUrl: etcd.url,
    logFile: join(directory, 'kube-apiserver.log'),
  });
  let plugin: Daemon | undefined;
  try {
    // The old plugin's key, made as its documentation says.
    const legacyId = await orderKey(openStack);
    const legacyKey = await payloadOf(openStack, legacyId);
    rememberSecret(legacyKey);
    const cloudConfig = join(directory, 'cloud.conf');
    writeFileSync(cloudConfig, cloudConf(openStack, `[KeyManager]\nkey-id=${legacyId}\n`), { mode: 0o600 });

    const old = await startLegacyPlugin(socket, legacyId, legacyKey);
    apiserver.setEncryption(encryptionConfiguration(socket, onlyV1 ? 'oldV1' : 'old'), ['KMSv1=true']);
    await apiserver.start();
    const { client } = apiserver;
    await untilDefaultNamespace(client);
    for (let count = 0; count < SECRETS_MADE; count++) await client.create(SECRETS, secret(`old-${count}`));
    await client.create(CONFIG_MAPS, configMap('old'));
    const before = await dataOf(apiserver);
    for (const stored of [...(await storedIn(etcd, SECRETS)), ...(await storedIn(etcd, CONFIG_MAPS))]) {
      if (stored.version === 'v1') assert.is(stored.encryptedDek.length, 64);
      else {
        assert.ok(stored.keyId === legacyId && stored.provider === 'barbican');
        assert.is(stored.encryptedDekSource.length, 64);
      }
    }
    assert.is((await storedIn(etcd, SECRETS))[0]?.version, onlyV1 ? 'v1' : 'v2');
    assert.is((await storedIn(etcd, CONFIG_MAPS))[0]?.version, 'v1');

    // The switch.
    const keyset = `barbican:${join(directory, 'keyset')}`;
    await teapot(['keys', 'generate', '--uri', keyset, '--cloud-config', cloudConfig]);
    const config = join(directory, 'teapot-kms.yaml');
    const instance = { name: 'barbican', socket, keys: { uri: keyset, cloudConfig }, ...instanceSettings(kubernetes) };
    writeFileSync(config, JSON.stringify({ version: 1, http: false, log: { level: 'debug' }, instances: [instance] }));
    const start = async () => {
      const flags = ['--socketpath', socket, '--cloud-config', cloudConfig, '--keys', keyset, '--v=4'];
      const args = onlyV1 ? ['serve', '--config', config] : ['barbican-kms-plugin', ...flags];
      plugin = new Daemon({ name: 'the plugin', command: launcher(), args, logFile: log });
      await untilKeyIsThere(socket, plugin);
    };
    await old.close();
    await start();
    const { keyId } = await statusOf(socket);
    assert.is.not(keyId, legacyId);
    const seconds = await timed(() =>
      until(
        'what is written is under the new key',
        async () => {
          await apiserver.kmsHealth();
          await client.create(SECRETS, secret('probe')).catch(() => undefined);
          await client.replace(`${SECRETS}/probe`, secret('probe'));
          const stored = parseStored((await etcd.get(`${etcdPrefix(SECRETS)}probe`))!);
          const written = stored.version === 'v2' ? stored.keyId : decodeEnvelope(stored.encryptedDek).keyId;
          return written === keyId;
        },
        { everyMs: 500 },
      ),
    );
    figure(
      'seconds until kube-apiserver writes under the new key after the switch from barbican-kms-plugin',
      seconds.toFixed(0),
    );
    // A restarted kube-apiserver has empty caches.
    await apiserver.stop();
    apiserver.setEncryption(encryptionConfiguration(socket, 'rewriting'), ['KMSv1=true']);
    await apiserver.start();
    assert.equal(await dataOf(apiserver), before, 'all that the old plugin wrote is readable');
    assert.ok((await decryptsOf(socket, legacyId)) > 0);

    // The rewrite.
    await rewriteAll(client, SECRETS);
    await rewriteAll(client, CONFIG_MAPS);
    for (const stored of [...(await storedIn(etcd, SECRETS)), ...(await storedIn(etcd, CONFIG_MAPS))]) {
      assert.ok(stored.version === 'v2' && stored.keyId === keyId);
    }

    // The legacy key goes, from the plugin's configuration and from Barbican.
    writeFileSync(cloudConfig, cloudConf(openStack), { mode: 0o600 });
    const token = await openStack.admin.token('kms', openStack.state.passwords.kms, 'kms');
    await openStack.admin.barbican(token, 'DELETE', `/secrets/${legacyId}`);
    await plugin!.stop();
    await start();
    await apiserver.stop();
    apiserver.setEncryption(encryptionConfiguration(socket, 'new'), []);
    await apiserver.start();
    assert.equal(await dataOf(apiserver), before, 'nothing needs the legacy key');
    const logged = readFileSync(log, 'latin1');
    assert.match(logged, '"level":"debug"');
    assert.not.ok(logged.includes(openStack.state.application_credential.secret));
    assert.not.match(logged, /gAAAAA[\w-]{20}/, 'a token of Keystone');
  } finally {
    await Promise.all([plugin?.kill(), apiserver.stop()]);
    await etcd.stop();
    await openStack.stop();
    apiserver.client.close();
    const logs = process.env['TEAPOT_TEST_LOG_DIR'];
    if (logs !== undefined) copyFileSync(log, join(logs, `e2e-migration-${kubernetes}-plugin.log`));
    rmSync(directory, { recursive: true, force: true });
  }
}

/** `openstack secret order create --algorithm aes --mode cbc --bit-length 256 key`. */
async function orderKey({ admin, state }: OpenStack): Promise<string> {
  const token = await admin.token('kms', state.passwords.kms, 'kms');
  const meta = {
    name: 'kms',
    algorithm: 'aes',
    mode: 'cbc',
    bit_length: 256,
    payload_content_type: 'application/octet-stream',
  };
  const order = (await admin.barbican(token, 'POST', '/orders', { type: 'key', meta })) as { order_ref: string };
  const path = `/orders/${order.order_ref.split('/').at(-1)!}`;
  return until('the order is done', async () => {
    const { secret_ref } = (await admin.barbican(token, 'GET', path)) as { secret_ref?: string };
    return secret_ref?.split('/').at(-1);
  });
}

async function storedIn(etcd: Etcd, collection: string) {
  const values = await etcd.list(etcdPrefix(collection));
  return values.map(({ value }) => parseStored(value));
}

async function dataOf({ client }: KubeApiserver): Promise<Record<string, unknown>> {
  const all = [...(await client.list(SECRETS)).items, ...(await client.list(CONFIG_MAPS)).items];
  const made = all.filter(({ metadata }) => metadata.name !== 'probe');
  return Object.fromEntries(made.map(({ metadata, data }) => [metadata.name, data]));
}

async function withClient<T>(socket: string, use: (client: KmsClient) => Promise<T>): Promise<T> {
  const client = new KmsClient(socket, 60_000);
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

const statusOf = (socket: string) => withClient(socket, (client) => client.status());

async function untilKeyIsThere(socket: string, plugin: Daemon): Promise<void> {
  await until('the plugin has its key', async () => {
    plugin.checkRunning();
    return (await statusOf(socket)).healthz === 'ok';
  });
}

async function decryptsOf(socket: string, keyId: string): Promise<number> {
  const { keys } = (await withClient(socket, (client) => client.describe())) as {
    keys: { id: string; decrypts: number }[];
  };
  return keys.find(({ id }) => id === keyId)?.decrypts ?? 0;
}

test.run();
