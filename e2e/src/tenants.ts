import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon, freePort, launcher } from '@teapot-kms/testing/daemons';
import { rememberSecret, until } from '@teapot-kms/testing';
import { authorityHashes } from '@teapot-kms/core';
import { KmsClient } from '@teapot-kms/server';
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KubeApiserver } from './kube-apiserver.ts';
import { instanceSettings } from './kubernetes-minors.ts';
import { ManagementCluster, readerRules } from './management-cluster.ts';
import { MetricsText } from './metrics.ts';
import { untilDefaultNamespace } from './objects.ts';
import { teapot } from './teapot-cli.ts';

/** The namespace of the management cluster that holds all keysets. */
export const KEYSETS = '/api/v1/namespaces/tenants/secrets';

/** One tenant's control plane. */
export interface Tenant {
  readonly name: string;
  readonly uri: string;
  readonly socket: string;
  readonly etcdPrefix: string;
  readonly apiserver: KubeApiserver;
}

/** A management cluster, tenants' kube-apiservers with prefixes of their own in its etcd, and one plugin for all of them. */
export class Tenants {
  readonly management: ManagementCluster;
  readonly tenants: readonly [Tenant, Tenant];
  readonly configFile: string;
  readonly #port: number;
  readonly #kubeconfig: string;
  #plugin: Daemon | undefined;

  private constructor(management: ManagementCluster, tenants: readonly [Tenant, Tenant], port: number) {
    this.management = management;
    this.tenants = tenants;
    this.configFile = join(management.directory, 'teapot-kms.yaml');
    this.#port = port;
    this.#kubeconfig = join(management.directory, 'plugin.kubeconfig');
  }

  /**
   * Makes all of it in the order of a management node that boots: the tenants' kube-apiservers wait for the plugin.
   * @param makeKeysets - puts the tenants' keysets into the management cluster
   */
  static async start(
    name: string,
    kubernetes: string,
    makeKeysets: (site: Tenants) => Promise<void>,
  ): Promise<Tenants> {
    const management = await ManagementCluster.start(name, kubernetes);
    // For "teapot-kms keys", which an administrator runs.
    process.env['KUBECONFIG'] = management.adminKubeconfig;
    await management.ensure('/api/v1/namespaces', { metadata: { name: 'tenants' } });
    const tenants = [await prepare(management, 'tenant-a'), await prepare(management, 'tenant-b')] as const;
    const site = new Tenants(management, tenants, await freePort());
    await site.#allowPlugin();
    await makeKeysets(site);
    site.configure(tenants.map(({ name }) => site.instance(name, 'unchecked')));
    for (const { name, apiserver } of tenants) {
      apiserver.setEncryption(
        await teapot(['config', 'encryption-configuration', '--config', site.configFile, '--instance', name]),
        [],
      );
      apiserver.spawn();
    }
    await until('the tenants have certificates', () =>
      tenants.every(({ apiserver }) => apiserver.authority.length > 0),
    );
    site.configureTenants();
    await site.startPlugin();
    for (const { apiserver } of tenants) {
      await apiserver.untilReady();
      await untilDefaultNamespace(apiserver.client);
    }
    return site;
  }

  /** An instance of the configuration. */
  instance(name: string, serves: string): object {
    return {
      name,
      socket: socketOf(this.management, name),
      keys: { uri: uriOf(name), kubeconfig: this.#kubeconfig, serves },
      probeInterval: '1s',
      statusGrace: '3s',
      ...instanceSettings(this.management.kubernetes),
    };
  }

  /** The configuration as it should be, and perhaps further instances. */
  configureTenants(...further: readonly object[]): void {
    const own = this.tenants.map(({ name, apiserver }) =>
      this.instance(name, authorityHashes(apiserver.authority).at(-1)!),
    );
    this.configure([...own, ...further]);
  }

  configure(instances: readonly object[]): void {
    writeFileSync(
      this.configFile,
      JSON.stringify(
        { version: 1, http: { port: this.#port }, stateDirectory: `${this.configFile}.state`, instances },
        null,
        1,
      ),
    );
  }

  async startPlugin(): Promise<void> {
    this.#plugin = new Daemon({
      name: 'the plugin',
      command: launcher(),
      args: ['serve', '--config', this.configFile],
      logFile: join(this.management.directory, 'plugin.log'),
    });
    await until('the plugin answers', async () => {
      this.#plugin?.checkRunning();
      return (await fetch(`http://127.0.0.1:${this.#port}/livez`)).ok;
    });
  }

  async restartPlugin(): Promise<void> {
    await this.#plugin?.stop();
    await this.startPlugin();
  }

  async metrics(): Promise<MetricsText> {
    // Within a second the plugin gives the same scrape again.
    await sleep(1_100);
    return new MetricsText(await (await fetch(`http://127.0.0.1:${this.#port}/metrics`)).text());
  }

  /** What Status says to a tenant's kube-apiserver, or the error that it is. */
  async status(name: string): Promise<{ readonly healthz: string; readonly keyId: string }> {
    const client = new KmsClient(socketOf(this.management, name));
    try {
      return await client.status();
    } catch (error) {
      return { healthz: (error as Error).message, keyId: '' };
    } finally {
      client.close();
    }
  }

  get logs(): readonly string[] {
    const names = ['plugin.log', 'management.log', 'tenant-a/kube-apiserver.log', 'tenant-b/kube-apiserver.log'];
    return names.map((name) => join(this.management.directory, name)).filter((path) => existsSync(path));
  }

  /** The keys of all keysets. */
  async keys(): Promise<Buffer[]> {
    const { items } = await this.management.apiserver.client.list(KEYSETS);
    const entries = items.flatMap(({ data = {} }) => Object.entries(data));
    return entries.filter(([name]) => name.endsWith('.key')).map(([, text]) => Buffer.from(text, 'base64'));
  }

  async close(keep: boolean): Promise<void> {
    for (const key of await this.keys().catch(() => [])) rememberSecret(key);
    await Promise.all([this.#plugin?.kill(), ...this.tenants.map(({ apiserver }) => apiserver.stop())]);
    for (const { apiserver } of this.tenants) apiserver.client.close();
    const directory = process.env['TEAPOT_TEST_LOG_DIR'];
    if (directory !== undefined) {
      for (const log of this.logs) {
        const name = log.slice(this.management.directory.length + 1).replaceAll('/', '-');
        copyFileSync(log, join(directory, `${this.management.name}-${name}`));
      }
    }
    await this.management.close(keep);
  }

  /** The least that the plugin needs: to get and watch each keyset by its name. */
  async #allowPlugin(): Promise<void> {
    const rules = readerRules(...this.tenants.map(({ name }) => name));
    await this.management.grant('tenants', 'teapot-kms', rules);
    this.management.writeKubeconfig(this.#kubeconfig, { token: await this.management.token('tenants', 'teapot-kms') });
  }
}

export const uriOf = (name: string): string => `k8s-secret:tenants/${name}`;

const socketOf = ({ directory }: ManagementCluster, name: string): string => join(directory, 'run', name, 'kms.sock');

async function prepare(management: ManagementCluster, name: string): Promise<Tenant> {
  const directory = join(management.directory, name);
  mkdirSync(directory);
  const etcdPrefix = `/${name}`;
  const apiserver = await KubeApiserver.prepare({
    binary: management.binaries.kubeApiserver,
    directory,
    etcdUrl: management.etcd.url,
    etcdPrefix,
    logFile: join(directory, 'kube-apiserver.log'),
  });
  return { name, uri: uriOf(name), socket: socketOf(management, name), etcdPrefix, apiserver };
}
