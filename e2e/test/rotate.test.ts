// `teapot-kms rotate` on a real kube-apiserver and etcd: killed in the rewrite, run again, and run once more.
import { figure, fullRun, timed, until } from '@teapot-kms/testing';
import { launcher } from '@teapot-kms/testing/daemons';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULT_KUBERNETES, findBinaries, registerUnlessMissing } from '../src/binaries.ts';
import { Cluster } from '../src/cluster.ts';
import { fileKeyStore } from '../src/key-stores/file.ts';
import { CONFIG_MAPS, configMap, etcdPrefix, inParallel, secret, SECRETS } from '../src/objects.ts';
import { rotatorKubeconfig } from '../src/rotator.ts';
import { runWithoutSettling } from '../src/run-teapot.ts';
import type { CommandResult, RunningCommand } from '../src/run-teapot.ts';
import { parseStored } from '../src/stored-object.ts';

interface Site {
  cluster: Cluster;
  /** Of a rotation. */
  options: readonly string[];
  written: Map<string, unknown>;
  oldKey: string;
}
const OBJECTS = 60;
const rotate = ({ options }: Site, ...more: readonly string[]): RunningCommand =>
  // An old seed's three minutes are not waited for: nothing writes while this test rotates.
  runWithoutSettling(['rotate', ...options, ...more]);

async function prepared(): Promise<Site> {
  const cluster = await Cluster.create({
    name: 'rotate',
    kubernetes: DEFAULT_KUBERNETES,
    keyStore: fileKeyStore,
    encrypted: [{ resources: ['secrets', 'configmaps'], providers: ['v2'] }],
  });
  await cluster.start();
  const { client, plugin, etcd, directory } = cluster;
  const written = new Map<string, unknown>();
  const names = Array.from({ length: OBJECTS }, (_, n) => `s-${n}`);
  await inParallel(names, 8, async (name) => written.set(name, (await client.create(SECRETS, secret(name))).data));
  await client.create(CONFIG_MAPS, configMap('also-encrypted'));
  const kubeconfig = await rotatorKubeconfig(cluster, ['secrets', 'configmaps']);
  const status = `${launcher()} status --report --config ${plugin.configFile} --nonce {nonce}`;
  const options = ['--config', plugin.configFile, '--replicas', '1', '--fetch', status, '--kubeconfig', kubeconfig];
  options.push('--etcd-servers', etcd.url, '--encryption-config', join(directory, 'encryption.yaml'));
  options.push('--settle', '1s', '--older-than', '0s', '--scan-rate', 'unlimited');
  return { cluster, options, written, oldKey: await cluster.store.primary() };
}

const keyIdOf = (value: Buffer): string => {
  const stored = parseStored(value);
  return stored.version === 'v2' ? stored.keyId : 'v1';
};

function register(): void {
  const test = suite<Site>('rotate on a real cluster');
  let failed = true;
  test.before(async (context) => void Object.assign(context, await prepared()));
  test.after(({ cluster }) => cluster.close(failed));

  test('up to the promotion, with a report of the running plugin', async (site) => {
    const { code, stdout, stderr } = await rotate(site, '--only-through', 'promote').result;
    assert.is(code, 0, stderr);
    assert.match(stdout, 'step  wait-for-servers');
    assert.is.not(await site.cluster.store.primary(), site.oldKey);
  });

  test('killed in the rewrite, it goes on: no object is written twice, and the old key is retired', async (site) => {
    const { cluster, oldKey, written } = site;
    const { etcd, store, client, apiserver } = cluster;
    const primary = await store.primary();
    const underNew = async () =>
      (await etcd.list(etcdPrefix(SECRETS))).filter(({ value }) => keyIdOf(value) === primary).length;
    const first = rotate(site, '--rewrite-rate', '10');
    const isUnderWay = async () => {
      // As a kubelet does all the time: kube-apiserver asks the plugin earlier.
      await apiserver.kmsHealth();
      return (await underNew()) > 5;
    };
    await until('the rewrite is under way', isUnderWay, { timeoutMs: 180_000, everyMs: 250 });
    first.kill();
    await first.result;
    const before = await underNew();
    assert.ok(before < OBJECTS, `${before} were written before it was killed`);

    let outcome: CommandResult | undefined;
    const seconds = await timed(async () => (outcome = await rotate(site, '--rewrite-rate', 'unlimited').result));
    figure(`seconds of a rotation of ${OBJECTS} Secrets, from its rewrite on`, seconds.toFixed(1));
    const { code, stdout, stderr } = outcome!;
    assert.is(code, 0, stderr);
    assert.match(stdout, 'Nothing is left to do.');
    assert.match(stderr, `secrets: ${OBJECTS - before} written, ${before} needed no write, 0 are gone, 0 failed`);
    for (const collection of [SECRETS, CONFIG_MAPS]) {
      for (const { key, value } of await etcd.list(etcdPrefix(collection))) assert.is(keyIdOf(value), primary, key);
    }
    for (const { key, version } of await etcd.list(etcdPrefix(SECRETS))) assert.is(version, 2, `writes of ${key}`);
    const manifest = readFileSync(join(String(store.keys['uri']).slice('file:'.length), 'keyset.yaml'), 'utf8');
    assert.match(manifest, new RegExp(`id: ${oldKey}\\n.*\\n    state: retired`));
    for (const [name, data] of written) assert.equal((await client.get(`${SECRETS}/${name}`)).data, data);
  });

  test('another run has nothing to do, and writes nothing', async (site) => {
    const { etcd } = site.cluster;
    const versions = async () => (await etcd.list('/registry/secrets/')).map(({ version }) => version);
    const before = await versions();
    const { code, stdout } = await rotate(site, '--older-than', '24h').result;
    assert.is(code, 0);
    assert.match(stdout, 'and no older key is in use');
    assert.equal(await versions(), before);
    failed = fullRun;
  });

  if (fullRun) {
    test('all Secrets are readable when plugin and kube-apiserver have started again', async ({ cluster, written }) => {
      const { client, plugin, apiserver } = cluster;
      await plugin.restart();
      await apiserver.restart();
      for (const [name, data] of written) assert.equal((await client.get(`${SECRETS}/${name}`)).data, data);
      failed = false;
    });
  }

  test.run();
}

registerUnlessMissing('rotate on a real cluster', () => {
  findBinaries(DEFAULT_KUBERNETES);
  register();
});
