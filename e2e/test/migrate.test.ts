// `teapot-kms migrate` on a real kube-apiserver and etcd: from secretbox to the plugin, between key stores, and back to plain text.
import { fullRun, until } from '@teapot-kms/testing';
import { launcher } from '@teapot-kms/testing/daemons';
import { readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULT_KUBERNETES, findBinaries, registerUnlessMissing } from '../src/binaries.ts';
import { Cluster } from '../src/cluster.ts';
import { fileKeyStore } from '../src/key-stores/file.ts';
import { writeKubeconfig } from '../src/kubeconfig.ts';
import { etcdPrefix, inParallel, secret, SECRETS } from '../src/objects.ts';
import { runWithoutSettling } from '../src/run-teapot.ts';
import type { CommandResult } from '../src/run-teapot.ts';
import { parseStored } from '../src/stored-object.ts';
import { teapot } from '../src/teapot-cli.ts';

interface Site {
  cluster: Cluster;
  /** Of every migration. */
  options: readonly string[];
  /** What kube-apiserver reads, and the next one. */
  encryption: string;
  written: Map<string, unknown>;
}

const OBJECTS = 40;

async function prepared(): Promise<Site> {
  const cluster = await Cluster.create({
    name: 'migrate',
    kubernetes: DEFAULT_KUBERNETES,
    keyStore: fileKeyStore,
    encrypted: [{ resources: ['secrets'], providers: ['secretbox'] }],
    pluginSettings: { probeInterval: '500ms' },
  });
  await cluster.start();
  const { client, apiserver, plugin, etcd, directory } = cluster;
  const written = new Map<string, unknown>();
  const names = Array.from({ length: OBJECTS }, (_, n) => `s-${n}`);
  await inParallel(names, 8, async (name) => written.set(name, (await client.create(SECRETS, secret(name))).data));
  const [encryption, next] = [join(directory, 'encryption.yaml'), join(directory, 'next.yaml')];
  const status = `${launcher()} status --report --config ${plugin.configFile} --nonce {nonce}`;
  const options = ['--config', plugin.configFile, '--replicas', '1', '--fetch', status];
  // One that RBAC does not concern: a kube-apiserver that has just started may not have read its roles yet.
  const kubeconfig = writeKubeconfig(join(directory, 'admin.kubeconfig'), [apiserver]);
  options.push('--kubeconfig', kubeconfig, '--etcd-servers', etcd.url);
  options.push('--encryption-config', encryption, '--write', next, '--install', `cp ${next} ${encryption}`);
  options.push('--settle', '1s', '--scan-rate', 'unlimited', '--rewrite-rate', 'unlimited');
  return { cluster, options, encryption, written };
}

/** Runs the command. kube-apiserver looks at its file once a minute: only a full run waits for that, else it is started again. */
async function migrate({ cluster, options, encryption }: Site, ...more: string[]): Promise<CommandResult> {
  const { apiserver } = cluster;
  const { result } = runWithoutSettling(['migrate', ...options, ...more]);
  let ended = false;
  void result.finally(() => (ended = true));
  const inode = (): string => `${statSync(encryption).mtimeMs}`;
  let seen = inode();
  const isEnded = async (): Promise<boolean> => {
    if (!fullRun && seen !== inode()) {
      seen = inode();
      await apiserver.restart();
    }
    // As a kubelet does all the time: kube-apiserver asks the plugin earlier.
    await apiserver.kmsHealth().catch(() => undefined);
    return ended;
  };
  await until('the migration has ended', isEnded, { timeoutMs: 600_000, everyMs: 500 });
  return result;
}

/** Where each Secret is, and how often it was written. */
async function places({ cluster }: Site): Promise<Map<string, number>> {
  const places = new Map<string, number>();
  for (const { value, version } of await cluster.etcd.list(etcdPrefix(SECRETS))) {
    const encrypted = value.subarray(0, 8).toString() === 'k8s:enc:';
    const prefix = value.subarray(0, value.indexOf(':', 20)).toString();
    const isKms = encrypted && prefix.startsWith('k8s:enc:kms:v2');
    const stored = isKms ? parseStored(value) : undefined;
    const place = stored ? (stored as { keyId: string }).keyId : encrypted ? prefix.split(':')[2]! : 'plain';
    const label = `${place}, ${version} writes`;
    places.set(label, (places.get(label) ?? 0) + 1);
  }
  return places;
}

async function assertReadable({ cluster, written }: Site): Promise<void> {
  for (const [name, data] of written) assert.equal((await cluster.client.get(`${SECRETS}/${name}`)).data, data);
}

function register(): void {
  const test = suite<Site>('migrate on a real cluster');
  let failed = true;
  test.before(async (context) => void Object.assign(context, await prepared()));
  test.after(({ cluster }) => cluster.close(failed));

  test('--dry-run says the first step, and changes nothing', async (site) => {
    const before = readFileSync(site.encryption, 'utf8');
    const { code, stdout, stderr } = await migrate(site, '--to', 'teapot', '--dry-run');
    assert.is(code, 0, stderr);
    assert.match(stdout, 'step  configure\nwhy   the next EncryptionConfiguration: teapot-main can decrypt');
    assert.is(readFileSync(site.encryption, 'utf8'), before);
  });

  test('from secretbox to the plugin: each Secret is written once, and the secretbox key is gone', async (site) => {
    assert.equal([...(await places(site))], [['secretbox, 1 writes', OBJECTS]]);
    const { code, stdout, stderr } = await migrate(site, '--to', 'teapot');
    assert.is(code, 0, `${stdout}${stderr}`);
    assert.match(stdout, 'Nothing is left to do.');
    const primary = await site.cluster.store.primary();
    assert.equal([...(await places(site))], [[`${primary}, 2 writes`, OBJECTS]]);
    const configuration = readFileSync(site.encryption, 'utf8');
    assert.not.match(configuration, 'secretbox');
    assert.match(configuration, 'identity');
    await assertReadable(site);
    failed = fullRun;
  });

  if (!fullRun) {
    console.log('only with TEAPOT_TEST_FULL=1, as it takes minutes: moves between key stores and back to plain text');
    test.run();
    return;
  }

  test('between key stores: the old one decrypts until nothing needs it, and may go', async (site) => {
    const { cluster } = site;
    const { plugin, directory, store } = cluster;
    const old = { ...store.keys };
    const [uri, oldDirectory] = [`file:${join(directory, 'other')}`, String(old['uri']).slice('file:'.length)];
    const { generated } = JSON.parse(await teapot(['keys', 'generate', '--uri', uri, '--output', 'json'])) as {
      generated: string;
    };
    const settings = { probeInterval: '500ms' };
    plugin.configure({ keys: { uri }, env: {} }, { ...settings, decryptOnly: [old] });
    const moved = await migrate(site, '--to', 'teapot');
    assert.is(moved.code, 3, `${moved.stdout}${moved.stderr}`);
    assert.match(moved.stdout, `step  drop-stores\nwhy   no object needs ${String(old['uri'])}`);
    assert.equal([...(await places(site))], [[`${generated}, 3 writes`, OBJECTS]]);
    plugin.configure({ keys: { uri }, env: {} }, settings);
    renameSync(oldDirectory, `${oldDirectory}.away`);
    assert.is((await migrate(site, '--to', 'teapot')).code, 0);
    await plugin.restart();
    await cluster.apiserver.restart();
    await assertReadable(site);
  });

  test('back to plain text: the plugin is not needed any more', async (site) => {
    const { code, stdout, stderr } = await migrate(site, '--to', 'identity');
    assert.is(code, 0, `${stdout}${stderr}`);
    assert.equal([...(await places(site))], [['plain, 4 writes', OBJECTS]]);
    assert.not.match(readFileSync(site.encryption, 'utf8'), 'kms');
    await site.cluster.plugin.stop();
    await site.cluster.apiserver.restart();
    await assertReadable(site);
    failed = false;
  });

  test.run();
}

registerUnlessMissing('migrate on a real cluster', () => {
  findBinaries(DEFAULT_KUBERNETES);
  register();
});
