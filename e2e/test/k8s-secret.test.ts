// The key store `k8s-secret:` on a real kube-apiserver, under a service account's token that may get and watch one Secret.
import { figure, fullRun, keysetSourceSuite, rejectsWithCode, rememberSecret, until } from '@teapot-kms/testing';
import type { KeysetSourceFixture } from '@teapot-kms/testing';
import {
  authorityHashes,
  decodeEnvelope,
  destroyRetiredKey,
  generateKey,
  HostRecords,
  KeysetService,
  promoteKey,
  providerFor,
  retireKey,
  SharedResources,
} from '@teapot-kms/core';
import type { KeysetAdmin, KeysetServiceOptions, KeysetSource, KmsError } from '@teapot-kms/core';
import { launcher } from '@teapot-kms/testing/daemons';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findBinaries, kubernetesVersions, registerUnlessMissing } from '../src/binaries.ts';
import { ManagementCluster, readerRules } from '../src/management-cluster.ts';

const [kubernetes = ''] = kubernetesVersions();
const NAMESPACE = 'tenants';
const SECRETS = `/api/v1/namespaces/${NAMESPACE}/secrets`;
const ELSEWHERE = `sha256:${'0'.repeat(64)}`;
const context = () => ({ signal: AbortSignal.timeout(20_000) });

const test = suite(`k8s-secret on Kubernetes ${kubernetes}`);
let starting: Promise<ManagementCluster> | undefined;
let secrets = 0;

async function ready(): Promise<ManagementCluster> {
  starting ??= ManagementCluster.start(`k8s-secret-${kubernetes}`, kubernetes).then(async (cluster) => {
    await cluster.ensure('/api/v1/namespaces', { metadata: { name: NAMESPACE } });
    return cluster;
  });
  return starting;
}
test.after(async () => (await starting)?.close());

interface Site extends KeysetSourceFixture {
  readonly cluster: ManagementCluster;
  readonly name: string;
  readonly path: string;
  readonly tokenFile: string;
  /** A source of the plugin's: it may only read. */
  readonly reopen: (settings?: Record<string, unknown>) => KeysetSource;
  readonly close: () => Promise<void>;
}

function managedBy(reader: KeysetSource, { admin }: KeysetSource): KeysetSource {
  return {
    uri: reader.uri,
    load: (context) => reader.load(context),
    watch: (onChange) => reader.watch(onChange),
    examine: (context) => reader.examine!(context),
    admin: admin!,
  };
}

/** A Secret that is not there yet, an account that may read it, and sources of the plugin and of the administrator. */
async function makeSite(): Promise<Site> {
  const cluster = await ready();
  const { client } = cluster.apiserver;
  const name = `keyset-${String(++secrets)}`;
  const path = `${SECRETS}/${name}`;
  await cluster.grant(NAMESPACE, name, readerRules(name));
  const tokenFile = join(cluster.directory, `${name}.token`);
  writeFileSync(tokenFile, await cluster.token(NAMESPACE, name), { mode: 0o600 });
  const kubeconfig = join(cluster.directory, `${name}.kubeconfig`);
  cluster.writeKubeconfig(kubeconfig, { tokenFile });
  const uri = `k8s-secret:${NAMESPACE}/${name}`;
  const shared = new SharedResources();
  const opened: KeysetSource[] = [];
  const open = (settings: Record<string, unknown>): KeysetSource => {
    const source = providerFor(uri).open(uri, settings, shared) as KeysetSource;
    opened.push(source);
    return source;
  };
  // Read with the least rights, managed by the administrator: as in life.
  const reopen = (settings: Record<string, unknown> = {}): KeysetSource =>
    managedBy(open({ kubeconfig, serves: ELSEWHERE, ...settings }), open({ kubeconfig: cluster.adminKubeconfig }));
  await until('the role is in force', async () => {
    const error = await rejectsWithCode(() => reopen().load(context()), 'ERR_KMS_STORE_UNAVAILABLE');
    return error.message.includes('not found');
  });
  const blobs = async (): Promise<Record<string, string>> => ({ ...(await client.get(path)).data });
  return {
    cluster,
    name,
    path,
    tokenFile,
    source: reopen(),
    reopen,
    replaceManifest: async (text) => {
      await client.patch(path, { data: { 'keyset.yaml': Buffer.from(text).toString('base64') } });
    },
    putBlob: async (keyId, bytes) => {
      await client.patch(path, { data: { [`${keyId}.key`]: bytes.toString('base64') } });
    },
    removeBlob: async (keyId) => {
      await client.patch(path, { data: { [`${keyId}.key`]: null } });
    },
    readBlob: async (keyId) => {
      const text = (await blobs())[`${keyId}.key`];
      if (text === undefined) throw new Error('no such blob');
      return Buffer.from(text, 'base64');
    },
    close: async () => {
      for (const text of Object.values(await blobs().catch(() => ({})))) rememberSecret(Buffer.from(text, 'base64'));
      for (const source of opened) await source.close?.();
      assert.is(shared.size, 0, 'nothing is shared any more');
    },
  };
}

async function withSite(run: (site: Site, admin: KeysetAdmin) => Promise<void>): Promise<void> {
  const site = await makeSite();
  try {
    await run(site, site.source.admin!);
  } finally {
    await site.close();
  }
}

/** A service over a reader of its own, which probes once an hour: what it notices, it notices by the watch. */
async function withService(
  site: Site,
  options: Partial<KeysetServiceOptions>,
  run: (service: KeysetService) => Promise<void>,
): Promise<void> {
  const service = new KeysetService({ source: site.reopen(), probeIntervalMs: 3_600_000, ...options });
  service.start();
  try {
    await until('the keyset is loaded', async () => (await service.status()).healthz === 'ok');
    await run(service);
  } finally {
    await service.close();
  }
}

async function switchKey(admin: KeysetAdmin): Promise<string> {
  const { keyId } = await generateKey(admin);
  await promoteKey(admin, keyId);
  return keyId;
}

const messageOf = async (service: KeysetService): Promise<string> => {
  try {
    return (await service.status()).healthz;
  } catch (error) {
    return `${(error as KmsError).code}: ${(error as Error).message}`;
  }
};

interface Key {
  readonly id: string;
  /** The manifest before another key became the primary. */
  readonly older: string;
}

/** Runs doctor where the plugin is, and its commands as an administrator of the cluster that has the Secret. */
class OperatorOfSecret {
  readonly #site: Site;
  readonly #uri: string;
  readonly socket: string;

  constructor(site: Site) {
    const { cluster, name } = site;
    this.#site = site;
    this.#uri = `k8s-secret:${NAMESPACE}/${name}`;
    this.socket = this.path('run/kms.sock');
    const keys = { uri: this.#uri, kubeconfig: join(cluster.directory, `${name}.kubeconfig`), serves: ELSEWHERE };
    const config = {
      version: 1,
      http: false,
      stateDirectory: this.path('state'),
      instances: [{ name: 'main', socket: this.socket, keys }],
    };
    mkdirSync(this.path('state'), { recursive: true, mode: 0o700 });
    // JSON is YAML.
    writeFileSync(this.path('config.yaml'), JSON.stringify(config), { mode: 0o600 });
    writeFileSync(this.path('passphrase'), 'correct horse battery staple\n', { mode: 0o600 });
  }

  path(file: string): string {
    return join(this.#site.cluster.directory, `operator-${this.#site.name}`, file);
  }

  backUp(): void {
    this.follow(`KUBECONFIG=ADMIN teapot-kms keys export --uri ${this.#uri} --out BACKUP`);
  }

  remediesForKeys(): string[] {
    const args = ['doctor', '--config', this.path('config.yaml'), '--output', 'json'];
    const { stdout } = spawnSync(launcher(), args, { encoding: 'utf8' });
    const remedies = (JSON.parse(stdout) as { remedy?: string }[]).flatMap(({ remedy }) => remedy ?? []);
    return remedies.filter((remedy) => /restore|confirm/.test(remedy));
  }

  /** Runs the commands of a remedy in their order. */
  follow(remedy: string): void {
    const PATH = `${dirname(launcher())}:${process.env['PATH']}`;
    const commands = [...remedy.matchAll(/KUBECONFIG=ADMIN (?:'[^']*'|[^).'])*/g)].map(([command]) => command);
    assert.ok(commands.length > 0, remedy);
    for (const command of commands) {
      const line = command
        .replace('ADMIN', this.#site.cluster.adminKubeconfig)
        .replace('BACKUP', `${this.path('backup.age')} --passphrase-file ${this.path('passphrase')}`);
      const { status, stderr } = spawnSync('/bin/sh', ['-c', line], {
        env: { ...process.env, PATH },
        encoding: 'utf8',
      });
      assert.is(status, 0, `${line}: ${stderr}`);
    }
  }
}

function registerMore(): void {
  test('a key switch reaches a running service by its watch', () =>
    withSite(async (site, admin) => {
      await generateKey(admin);
      await withService(site, {}, async (service) => {
        const keyId = await switchKey(admin);
        const started = performance.now();
        await until('the new key is used', async () => (await service.status()).keyId === keyId, { everyMs: 5 });
        figure('ms until a key switch in a Secret is in use', Math.round(performance.now() - started));
      });
    }));

  test('mounted as a volume, as the kubelet does it, the same Secret is a file: keyset', () =>
    withSite(async ({ cluster, path, reopen }, admin) => {
      await generateKey(admin);
      const mount = mkdtempSync(join(cluster.directory, 'mount-'));
      mkdirSync(join(mount, '..2026'), { mode: 0o755 });
      symlinkSync('..2026', join(mount, '..data'));
      for (const [name, text] of Object.entries((await cluster.apiserver.client.get(path)).data ?? {})) {
        writeFileSync(join(mount, '..2026', name), Buffer.from(text, 'base64'), { mode: 0o400 });
        symlinkSync(`..data/${name}`, join(mount, name));
      }
      const mounted = providerFor('file:').open(`file:${mount}`, { allowGroupRead: false }, new SharedResources());
      const [asFile, asSecret] = [await (mounted as KeysetSource).load(context()), await reopen().load(context())];
      const envelope = decodeEnvelope(asFile.primary.seal(Buffer.from('x')));
      assert.is(asSecret.find(envelope.keyId).open(envelope).toString(), 'x');
      asFile.destroy();
      asSecret.destroy();
    }));

  test('operators who change a keyset at the same time lose nothing: one wins, the others get a conflict', () =>
    withSite(async ({ reopen }, admin) => {
      await generateKey(admin);
      let conflicts = 0;
      const operators = Array.from({ length: 6 }, async () => {
        const mine = reopen().admin!;
        const made: string[] = [];
        while (made.length < 4) {
          try {
            made.push((await generateKey(mine)).keyId);
          } catch (error) {
            if ((error as KmsError).code !== 'ERR_KMS_KEYSET_CONFLICT') throw error;
            conflicts++;
          }
        }
        return made;
      });
      const made = (await Promise.all(operators)).flat();
      assert.ok(conflicts > 0, 'they never met');
      const keyset = await reopen().load(context());
      for (const keyId of made) assert.is(keyset.find(keyId).keyId, keyId);
      assert.is(keyset.manifest.keys.length, made.length + 1);
      keyset.destroy();
      figure('conflicts of 6 operators that made 24 keys', conflicts);
    }));

  test('a first keyset is made once, whoever else makes one; an empty Secret may be there already', () =>
    withSite(async ({ reopen, cluster, name }) => {
      await cluster.apiserver.client.create(SECRETS, { metadata: { name } });
      const outcomes = await Promise.allSettled([generateKey(reopen().admin!), generateKey(reopen().admin!)]);
      assert.is(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
    }));

  test('a key that was destroyed leaves the Secret with the change of the manifest', () =>
    withSite(async ({ cluster, path }, admin) => {
      const first = await generateKey(admin);
      await switchKey(admin);
      await retireKey(admin, first.keyId);
      await destroyRetiredKey(admin, first.keyId, { graceMs: 0 });
      const names = Object.keys((await cluster.apiserver.client.get(path)).data ?? {});
      assert.is(names.length, 2);
      assert.not.ok(names.includes(`${first.keyId}.key`));
    }));

  test('a service account that was created again: its old token is refused, the new one is read from the file', () =>
    withSite(async (site, admin) => {
      const { cluster, name, tokenFile } = site;
      await generateKey(admin);
      await withService(site, { probeIntervalMs: 200, statusGraceMs: 1_000 }, async (service) => {
        const accounts = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`;
        await cluster.apiserver.client.delete(`${accounts}/${name}`);
        // A token is trusted for 10 s after it was last looked at.
        await until('the token is refused', async () => /401|Unauthorized/.test(await messageOf(service)));
        assert.match(await messageOf(service), /^(?!ERR)/, 'the keys are not lost');
        await cluster.ensure(accounts, { metadata: { name } });
        writeFileSync(tokenFile, await cluster.token(NAMESPACE, name), { mode: 0o600 });
        await until('the new token is used', async () => (await messageOf(service)) === 'ok');
      });
    }));

  test('a Secret that is deleted is gone for certain, its keys go on for the grace, and it may come back', () =>
    withSite(async (site, admin) => {
      const { cluster, path } = site;
      await generateKey(admin);
      const { data = {} } = await cluster.apiserver.client.get(path);
      await withService(site, { probeIntervalMs: 100, goneGraceMs: 1_500 }, async (service) => {
        await cluster.apiserver.client.delete(path);
        await until('Status says so', async () => (await messageOf(service)).startsWith('ERR_KMS_KEY_GONE'));
        await service.encrypt(Buffer.from('x'), context());
        await until('the grace is over', () => codeOf(() => service.encrypt(Buffer.from('x'), context())));
        await cluster.apiserver.client.create(SECRETS, { metadata: { name: site.name }, data });
        await until('it is back', async () => (await messageOf(service)) === 'ok');
      });
    }));

  test('a reader without the right gets an error that says so, and works again with the right', () =>
    withSite(async (site, admin) => {
      const { cluster, name } = site;
      await generateKey(admin);
      await withService(site, { probeIntervalMs: 100 }, async (service) => {
        const binding = `/apis/rbac.authorization.k8s.io/v1/namespaces/${NAMESPACE}/rolebindings/${name}`;
        await cluster.apiserver.client.delete(binding);
        await until('Status says so', async () => (await messageOf(service)).startsWith('ERR_KMS_KEY_GONE'));
        assert.match(await messageOf(service), /forbidden/);
        await cluster.grant(NAMESPACE, name, readerRules(name));
        await until('it is allowed again', async () => (await messageOf(service)) === 'ok');
      });
    }));

  test('the least rights are not enough to change keys', () =>
    withSite(async ({ cluster, name }, admin) => {
      await generateKey(admin);
      const kubeconfig = join(cluster.directory, `${name}.kubeconfig`);
      const uri = `k8s-secret:${NAMESPACE}/${name}`;
      const source = providerFor(uri).open(uri, { kubeconfig }, new SharedResources()) as KeysetSource;
      const error = await rejectsWithCode(() => generateKey(source.admin!), 'ERR_KMS_STORE_UNAVAILABLE');
      assert.match(error.message, /cannot patch resource/, `found: ${error.message}`);
      await source.close?.();
    }));

  test('a Secret of the cluster that is served is refused, whatever is in it', () =>
    withSite(async ({ cluster, reopen }, admin) => {
      await generateKey(admin);
      for (const serves of authorityHashes(cluster.apiserver.authority)) {
        const error = await rejectsWithCode(() => reopen({ serves }).load(context()), 'ERR_KMS_INVALID_URI');
        assert.match(error.message, /would be encrypted by itself/);
        const [remark] = await reopen({ serves }).examine!(context());
        assert.is(remark?.level, 'problem');
      }
      const error = await rejectsWithCode(() => reopen({ serves: undefined }).load(context()), 'ERR_KMS_INVALID_URI');
      assert.match(error.remedy!, /set "serves"/);
      (await reopen({ serves: 'unchecked' }).load(context())).destroy();
    }));

  test('doctor finds the least rights right, and names rights that are too many and copies of keys', () =>
    withSite(async ({ cluster, reopen, path }, admin) => {
      const { keyId } = await generateKey(admin);
      const levels = async (source: KeysetSource) => (await source.examine!(context())).map(({ level }) => level);
      assert.equal(await levels(reopen()), ['ok']);
      const asAdmin = await reopen({ kubeconfig: cluster.adminKubeconfig }).examine!(context());
      assert.equal(
        asAdmin.map(({ level }) => level),
        ['ok', 'hint', 'hint'],
      );
      const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': '{}' };
      await cluster.apiserver.client.patch(path, { metadata: { annotations }, data: { 'left.key': '' } });
      const remarks = await reopen().examine!(context());
      assert.equal(
        remarks.map(({ level }) => level),
        ['ok', 'problem', 'hint'],
      );
      assert.match(remarks[2]!.text, 'left.key');
      assert.ok(keyId);
    }));

  if (fullRun) {
    test('an API server that is frozen is found out by its pings, and used again when it thaws', () =>
      withSite(async (site, admin) => {
        await generateKey(admin);
        await withService(site, { probeIntervalMs: 1_000, statusGraceMs: 5_000 }, async (service) => {
          process.kill(site.cluster.apiserver.pid!, 'SIGSTOP');
          try {
            await until('Status says so', async () => (await messageOf(service)) !== 'ok');
            await service.encrypt(Buffer.from('x'), context());
            // Longer than two pings.
            await sleep(40_000);
          } finally {
            process.kill(site.cluster.apiserver.pid!, 'SIGCONT');
          }
          await until('all is well', async () => (await messageOf(service)) === 'ok');
          const keyId = await switchKey(admin);
          await until('the watch is back', async () => (await service.status()).keyId === keyId);
        });
      }));
  }

  for (const { what, change } of [
    { what: 'that is gone', change: ({ cluster, path }: Site) => cluster.apiserver.client.delete(path) },
    { what: 'with a damaged manifest', change: (site: Site) => site.replaceManifest!('keys: none\n') },
    {
      what: 'without its manifest',
      change: ({ cluster, path }: Site) => cluster.apiserver.client.patch(path, { data: { 'keyset.yaml': null } }),
    },
    { what: 'with a key that is gone', change: (site: Site, { id }: Key) => site.removeBlob!(id) },
    { what: 'with a damaged key', change: (site: Site, { id }: Key) => site.putBlob!(id, randomBytes(32)) },
    { what: 'with an older keyset', change: (site: Site, { older }: Key) => site.replaceManifest!(older) },
  ]) {
    test(`a Secret ${what}: doctor's commands bring its keys back from the backup`, () =>
      withSite(async (site, admin) => {
        const { keyId: id } = await generateKey(admin);
        const { text: older } = (await admin.readManifest())!;
        const keyset = await site.reopen().load(context());
        const sealed = keyset.primary.seal(Buffer.from('x'));
        keyset.destroy();
        await switchKey(admin);
        const operator = new OperatorOfSecret(site);
        operator.backUp();
        await new HostRecords(operator.path('state')).write(operator.socket, (await admin.readManifest())!.manifest);
        await change(site, { id, older });
        const [remedy = '', ...others] = operator.remediesForKeys();
        assert.equal(others, []);
        operator.follow(remedy);
        assert.equal(operator.remediesForKeys(), []);
        const restored = await site.reopen().load(context());
        const envelope = decodeEnvelope(sealed);
        assert.is(restored.find(envelope.keyId).open(envelope).toString(), 'x');
        restored.destroy();
      }));
  }

  // The last one, since it takes the API away.
  test('while the API is away keys go on; it restarts, and the next switch comes by a new watch', () =>
    withSite(async (site, admin) => {
      await generateKey(admin);
      await withService(site, {}, async (service) => {
        const { ciphertext } = await service.encrypt(Buffer.from('x'), context());
        await site.cluster.apiserver.stop();
        await rejectsWithCode(() => site.reopen().load(context()), 'ERR_KMS_STORE_UNAVAILABLE');
        await service.decrypt({ ciphertext }, context());
        await site.cluster.apiserver.start();
        const back = performance.now();
        const keyId = await switchKey(admin);
        const seen = async () => (await service.status()).keyId === keyId;
        await until('the new key is used', seen, { everyMs: 5 });
        figure('ms from a restarted API server to a key switch seen by watch', Math.round(performance.now() - back));
      });
    }));
}

async function codeOf(work: () => unknown): Promise<boolean> {
  try {
    await work();
    return false;
  } catch (error) {
    return (error as KmsError).code === 'ERR_KMS_KEY_GONE';
  }
}

registerUnlessMissing(`k8s-secret on Kubernetes ${kubernetes}`, () => {
  findBinaries(kubernetes);
  keysetSourceSuite(test, 'k8s-secret', makeSite);
  registerMore();
});

test.run();
