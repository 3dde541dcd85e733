// The plugin in a pod of the management cluster: no kubeconfig, but a service account whose token the kubelet renews.
import type { Daemon } from '@teapot-kms/testing/daemons';
import { figure, rememberSecret, until } from '@teapot-kms/testing';
import { authorityHashes, generateKey, providerFor, SharedResources } from '@teapot-kms/core';
import type { KeysetSource } from '@teapot-kms/core';
import { KmsClient } from '@teapot-kms/server';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findBinaries, kubernetesVersions, registerUnlessMissing } from '../src/binaries.ts';
import { ManagementCluster, readerRules } from '../src/management-cluster.ts';
import { ServiceAccountVolume, startInPod, whyNoPods } from '../src/pod.ts';

const [kubernetes = ''] = kubernetesVersions();
const NAMESPACE = 'teapot-kms';
const TENANT = 'tenant-a';
const test = suite(`service account on Kubernetes ${kubernetes}`);

/** A management cluster with one keyset, and the plugin in a pod of it. */
class Site {
  readonly cluster: ManagementCluster;
  readonly volume: ServiceAccountVolume;
  readonly logFile: string;
  readonly tokens: string[] = [];
  readonly #config: string;
  #plugin: Daemon | undefined;

  private constructor(cluster: ManagementCluster) {
    this.cluster = cluster;
    this.volume = new ServiceAccountVolume(join(cluster.directory, 'volume'));
    this.logFile = join(cluster.directory, 'plugin.log');
    this.#config = join(cluster.directory, 'teapot-kms.yaml');
  }

  static async start(): Promise<Site> {
    const cluster = await ManagementCluster.start(`service-account-${kubernetes}`, kubernetes);
    await cluster.ensure('/api/v1/namespaces', { metadata: { name: NAMESPACE } });
    await cluster.grant(NAMESPACE, 'teapot-kms', readerRules(TENANT));
    const uri = `k8s-secret:${NAMESPACE}/${TENANT}`;
    const settings = { kubeconfig: cluster.adminKubeconfig };
    const source = providerFor(uri).open(uri, settings, new SharedResources()) as KeysetSource;
    await generateKey(source.admin!);
    await source.close?.();
    return new Site(cluster);
  }

  /** The kubelet renews the token. @param seconds - until kube-apiserver refuses it; an hour where it is left out */
  async renew(seconds?: number): Promise<void> {
    const { cluster } = this;
    const token = await (seconds === undefined
      ? cluster.token(NAMESPACE, 'teapot-kms')
      : cluster.expiringToken(NAMESPACE, 'teapot-kms', seconds));
    this.tokens.push(token);
    this.volume.write({ token, 'ca.crt': cluster.apiserver.authority, namespace: NAMESPACE });
  }

  serve(serves: string): void {
    const keys = { uri: `k8s-secret:${NAMESPACE}/${TENANT}`, serves };
    const instance = { name: TENANT, socket: this.#socket, keys, probeInterval: '300ms', statusGrace: '1s' };
    writeFileSync(
      this.#config,
      JSON.stringify({ version: 1, http: false, stateDirectory: `${this.#config}.state`, instances: [instance] }),
    );
    this.#plugin ??= startInPod(this.#config, this.volume, this.cluster.apiserver.url, this.logFile);
  }

  async withClient<T>(use: (client: KmsClient) => Promise<T>): Promise<T> {
    const client = new KmsClient(this.#socket, 60_000);
    try {
      return await use(client);
    } finally {
      client.close();
    }
  }

  /** What Status says, as `healthz` or as an error. */
  status(): Promise<string> {
    return this.withClient((client) =>
      client.status().then(
        ({ healthz }) => healthz,
        (error: unknown) => (error as Error).message,
      ),
    );
  }

  async close(): Promise<void> {
    await this.#plugin?.stop();
    const { data = {} } = await this.cluster.apiserver.client.get(`/api/v1/namespaces/${NAMESPACE}/secrets/${TENANT}`);
    for (const text of Object.values(data)) rememberSecret(Buffer.from(text, 'base64'));
    const logs = process.env['TEAPOT_TEST_LOG_DIR'];
    if (logs !== undefined) copyFileSync(this.logFile, join(logs, `service-account-${kubernetes}-plugin.log`));
    await this.cluster.close();
  }

  get #socket(): string {
    return join(this.cluster.directory, 'run/kms.sock');
  }
}

let starting: Promise<Site> | undefined;
const ready = (): Promise<Site> => (starting ??= Site.start());
test.after(async () => (await starting)?.close());

const ELSEWHERE = `sha256:${'0'.repeat(64)}`;

function registerAll(): void {
  test('a pod needs no kubeconfig: its service account reads the keyset, with the least rights', async () => {
    const site = await ready();
    await site.renew(10);
    site.serve(ELSEWHERE);
    await until('the key is loaded', async () => (await site.status()) === 'ok');
  });

  test('a token that has expired is said in Status, keys go on, and a renewed one is taken', async () => {
    const site = await ready();
    const said = await until('Status says so', async () => {
      const healthz = await site.status();
      return /401|Unauthorized/.test(healthz) && healthz;
    });
    figure('what Status says of an expired token', said);
    await site.withClient(async (client) => {
      const { ciphertext, keyId } = await client.encrypt(Buffer.from('x'), 'x');
      assert.is((await client.decrypt(ciphertext, keyId, 'x')).toString(), 'x');
    });
    await site.renew(5);
    await until('the new one is taken', async () => (await site.status()) === 'ok');
  });

  test('a token that the kubelet renews in time is never missed', async () => {
    const site = await ready();
    const refusals = async (): Promise<number> =>
      (await site.cluster.apiserver.client.metrics()).sum('authentication_attempts', { result: 'error' });
    const before = await refusals();
    await site.renew();
    // The old one is used until it is refused. kube-apiserver remembers for ten seconds that a token was good.
    while ((await refusals()) === before) {
      assert.is(await site.status(), 'ok');
      await sleep(100);
    }
    assert.is(await site.status(), 'ok');
  });

  test('in a pod of the cluster that it serves, the plugin refuses the change and says why', async () => {
    const site = await ready();
    site.serve(authorityHashes(site.cluster.apiserver.authority).at(-1)!);
    const warnings = () => site.withClient(async (client) => (await client.describe())['warnings'] as string[]);
    await until('the plugin says why', async () =>
      (await warnings()).some((text) => text.includes('would be encrypted by itself')),
    );
    assert.is(await site.status(), 'ok', 'the keys in use stay');
  });

  test('no log holds a token', async () => {
    const { logFile, tokens } = await ready();
    const log = readFileSync(logFile, 'utf8');
    assert.is(tokens.length, 3);
    for (const token of tokens) assert.not.ok(log.includes(token.split('.')[2]!));
  });

  test.run();
}

registerUnlessMissing(`service account on Kubernetes ${kubernetes}`, () => {
  findBinaries(kubernetes);
  const why = whyNoPods();
  if (why === undefined) registerAll();
  else console.log(`SKIPPED the plugin in a pod, Kubernetes ${kubernetes}: ${why}`);
});
