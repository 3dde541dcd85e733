import { rememberSecret } from '@teapot-kms/testing';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ApiClient } from './api-client.ts';
import { findBinaries } from './binaries.ts';
import { encryptionConfiguration } from './encryption-configuration.ts';
import type { EncryptedResources } from './encryption-configuration.ts';
import { Etcd } from './etcd.ts';
import type { KeyStore, KeyStoreFixture } from './key-store-fixture.ts';
import { KubeApiserver } from './kube-apiserver.ts';
import { instanceSettings } from './kubernetes-minors.ts';
import { etcdKey, untilDefaultNamespace } from './objects.ts';
import { Plugin } from './plugin.ts';
import { parseStored } from './stored-object.ts';
import type { StoredObject, StoredV1, StoredV2 } from './stored-object.ts';

export interface ClusterOptions {
  /** What logs are called by. */
  readonly name: string;
  readonly kubernetes: string;
  readonly keyStore: KeyStore;
  readonly encrypted: readonly EncryptedResources[];
  readonly featureGates?: readonly string[];
  /** What etcd begins with. */
  readonly snapshot?: string;
  /** Further settings of the plugin's instance. */
  readonly pluginSettings?: Readonly<Record<string, unknown>>;
}

const LOGS = ['plugin.log', 'kube-apiserver.log', 'etcd.log'];

/** etcd, kube-apiserver and the plugin in a directory of their own. Only etcd runs at first. */
export class Cluster {
  readonly options: ClusterOptions;
  readonly directory: string;
  readonly etcd: Etcd;
  readonly store: KeyStoreFixture;
  readonly plugin: Plugin;
  readonly apiserver: KubeApiserver;

  private constructor(
    options: ClusterOptions,
    directory: string,
    parts: Pick<Cluster, 'etcd' | 'store' | 'plugin' | 'apiserver'>,
  ) {
    this.options = options;
    this.directory = directory;
    this.etcd = parts.etcd;
    this.store = parts.store;
    this.plugin = parts.plugin;
    this.apiserver = parts.apiserver;
  }

  /** @throws MissingBinary */
  static async create(options: ClusterOptions): Promise<Cluster> {
    const binaries = findBinaries(options.kubernetes);
    const directory = mkdtempSync(join(tmpdir(), 'teapot-e2e-'));
    const logFile = (name: string): string => join(directory, name);
    const etcd = await Etcd.start(binaries, directory, options.snapshot);
    const store = await options.keyStore.open(join(directory, 'store'));
    const plugin = await Plugin.prepare(
      {
        directory,
        logFile: logFile('plugin.log'),
        settings: { ...instanceSettings(options.kubernetes), ...options.pluginSettings },
      },
      store,
    );
    const apiserver = await KubeApiserver.prepare({
      binary: binaries.kubeApiserver,
      directory,
      etcdUrl: etcd.url,
      logFile: logFile('kube-apiserver.log'),
    });
    const cluster = new Cluster(options, directory, { etcd, store, plugin, apiserver });
    await cluster.encrypt(options.encrypted, options.featureGates ?? []);
    return cluster;
  }

  get client(): ApiClient {
    return this.apiserver.client;
  }

  get logs(): readonly string[] {
    return LOGS.map((name) => join(this.directory, name)).filter((path) => existsSync(path));
  }

  /** Starts the plugin and kube-apiserver, in this order. */
  async start(): Promise<void> {
    await this.plugin.start();
    await this.apiserver.start();
    await untilDefaultNamespace(this.client);
  }

  /** Changes kube-apiserver's encryption configuration; takes effect at its next start. */
  async encrypt(encrypted: readonly EncryptedResources[], featureGates: readonly string[]): Promise<void> {
    this.apiserver.setEncryption(await encryptionConfiguration(this.plugin.configFile, encrypted), featureGates);
  }

  /** What lies in etcd of an object. */
  async stored(collection: string, name: string): Promise<StoredObject> {
    const value = await this.etcd.get(etcdKey(collection, name));
    if (value === undefined) throw new Error(`no ${etcdKey(collection, name)} in etcd`);
    return parseStored(value);
  }

  async storedV2(collection: string, name: string): Promise<StoredV2> {
    const stored = await this.stored(collection, name);
    if (stored.version !== 'v2') throw new Error(`${name} is stored as KMS ${stored.version}, not v2`);
    return stored;
  }

  async storedV1(collection: string, name: string): Promise<StoredV1> {
    const stored = await this.stored(collection, name);
    if (stored.version !== 'v1') throw new Error(`${name} is stored as KMS ${stored.version}, not v1`);
    return stored;
  }

  /** Ends all of it. @param keep - leave the directory with the logs, and say where it is */
  async close(keep: boolean): Promise<void> {
    await Promise.all([this.plugin.kill(), this.apiserver.stop()]);
    await this.etcd.stop();
    this.client.close();
    this.#copyLogs(process.env['TEAPOT_TEST_LOG_DIR']);
    for (const key of await this.store.secrets()) rememberSecret(key);
    await this.store.dispose();
    if (keep) console.log(`the logs are in ${this.directory}`);
    else rmSync(this.directory, { recursive: true, force: true });
  }

  #copyLogs(directory: string | undefined): void {
    if (directory === undefined || directory === '') return;
    mkdirSync(directory, { recursive: true });
    for (const name of LOGS) {
      const log = join(this.directory, name);
      if (existsSync(log)) copyFileSync(log, join(directory, `e2e-${this.options.name}-${name}`));
    }
  }
}
