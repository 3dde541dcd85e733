import { systemClock } from '@teapot-kms/core';
import * as z from 'zod';
import { KmsClient } from '../client/client.ts';
import type { EtcdClient } from '../etcd/client.ts';
import type { ScanProgress } from '../inspect/scan.ts';
import { keyIdHash } from '../kms/key-id-hash.ts';
import { flagsOf } from './api-server-pod.ts';
import { originOf, otherServers, stateOf } from './api-servers.ts';
import type { ApiServerPlace } from './api-servers.ts';
import { CONFIG_MAP, CONFIG_MAP_KEY } from './cluster-configuration.ts';
import type { KubeApi } from './kube-api.ts';
import { countNeeding } from './objects-needing.ts';
import type { Plan, PlanInput, ServerState, Wish } from './plan-input.ts';
import { writesThrough } from './probe-secret.ts';
import { SetupError } from './setup-error.ts';
import type { Site, TextFiles } from './site.ts';

/** How this host does what is not the same everywhere. */
export interface HostSiteOptions {
  readonly wish: Wish;
  readonly files: TextFiles;
  readonly backupDirectory: string;
  readonly report: (step: Plan) => void;
  readonly tell: (text: string) => void;
  /** Shows how far a scan is. */
  readonly progress: () => { readonly show: (progress: ScanProgress) => void; readonly end: () => void };
  /** Reaches a kube-apiserver as an administrator. */
  readonly open: (origin: string) => KubeApi;
  /** Runs work with a client of the etcd that kube-apiserver's flags name. */
  readonly withEtcd: <T>(flags: ReadonlyMap<string, string>, work: (client: EtcdClient) => Promise<T>) => Promise<T>;
  readonly hasKeyset: () => Promise<boolean>;
  readonly makeKeyset: () => Promise<void>;
  readonly startPlugin: () => Promise<void>;
}

const CONFIG_MAP_PATH = `/api/v1/namespaces/kube-system/configmaps/${CONFIG_MAP}`;

const configMapSchema = z.object({
  metadata: z.object({ resourceVersion: z.string().optional() }),
  data: z.record(z.string(), z.string()).optional(),
});
const versionSchema = z.object({ gitVersion: z.string().optional() });

/** A control-plane node of kubeadm, on which this process runs. */
export class HostSite implements Site {
  readonly clock = systemClock;
  readonly files: TextFiles;
  readonly backupDirectory: string;
  readonly report: (step: Plan) => void;
  readonly tell: (text: string) => void;
  readonly hasKeyset: () => Promise<boolean>;
  readonly makeKeyset: () => Promise<void>;
  readonly startPlugin: () => Promise<void>;
  readonly #options: HostSiteOptions;
  #others: readonly ApiServerPlace[] = [];
  readonly #opened = new Map<string, KubeApi>();
  #configMap: z.infer<typeof configMapSchema> | undefined;

  constructor(options: HostSiteOptions) {
    this.#options = options;
    ({ files: this.files, backupDirectory: this.backupDirectory, report: this.report, tell: this.tell } = options);
    ({ hasKeyset: this.hasKeyset, makeKeyset: this.makeKeyset, startPlugin: this.startPlugin } = options);
  }

  async plugin(): Promise<PlanInput['plugin']> {
    const client = new KmsClient(this.#options.wish.provider.socket);
    try {
      const { healthz, version, keyId } = await client.status();
      return healthz === 'ok' ? { keyIdHash: keyIdHash(keyId), version } : { problem: healthz };
    } catch (error) {
      return { problem: (error as Error).message };
    } finally {
      client.close();
    }
  }

  async server(): Promise<ServerState> {
    const api = await this.#own();
    return stateOf({ name: api.origin, api }, this.#provider);
  }

  async others(): Promise<readonly ServerState[]> {
    this.#others = await otherServers(await this.#own(), (origin) => this.#open(origin));
    return Promise.all(this.#others.map((one) => stateOf(one, this.#provider)));
  }

  async writes(name?: string): Promise<boolean> {
    const other = this.#others.find((one) => one.name === name);
    if (name !== undefined && !other)
      throw new SetupError('ERR_SETUP_FAILED', `no kube-apiserver ${name}`, 'try again');
    const flags = await this.#flags();
    const readEtcd = (key: string) =>
      this.#etcd(flags, async (client) => {
        const { objects } = await client.range({ key: Buffer.from(key), limit: 1, revision: 0 });
        // The client uses its buffer again.
        return objects[0] && Buffer.from(objects[0].value);
      });
    return writesThrough(other?.api ?? (await this.#own()), {
      provider: this.#provider,
      root: rootOf(flags),
      readEtcd,
    });
  }

  async minor(): Promise<number | undefined> {
    // A build of one's own may leave "minor" empty.
    const version = await (await this.#own()).object('GET', '/version', versionSchema);
    const [, minor] = /^v1\.(\d+)\./.exec(version?.gitVersion ?? '') ?? [];
    return minor === undefined ? undefined : Number(minor);
  }

  async clusterConfiguration(): Promise<string | undefined> {
    this.#configMap = await (await this.#own()).object('GET', CONFIG_MAP_PATH, configMapSchema);
    return this.#configMap?.data?.[CONFIG_MAP_KEY];
  }

  /** Its resourceVersion makes kube-apiserver refuse it if somebody has changed it meanwhile. */
  async setClusterConfiguration(text: string): Promise<void> {
    const change = { metadata: this.#configMap?.metadata, data: { [CONFIG_MAP_KEY]: text } };
    await (await this.#own()).object('PATCH', CONFIG_MAP_PATH, configMapSchema, change);
  }

  async needed(most = Infinity): Promise<number | undefined> {
    const flags = await this.#flags();
    const { show, end } = this.#options.progress();
    const about = { root: rootOf(flags), provider: this.#provider, most, clock: this.clock, onProgress: show };
    return (await this.#etcd(flags, (client) => countNeeding(client, about)).finally(end)) ?? undefined;
  }

  /** Ends its connections. */
  close(): void {
    for (const api of this.#opened.values()) api.close();
  }

  get #provider(): string {
    return this.#options.wish.provider.name;
  }

  async #flags(): Promise<ReadonlyMap<string, string>> {
    const { manifestFile } = this.#options.wish;
    return flagsOf((await this.files.read(manifestFile)) ?? '', manifestFile);
  }

  async #own(): Promise<KubeApi> {
    return this.#open(originOf(await this.#flags()));
  }

  #open(origin: string): KubeApi {
    const opened = this.#opened.get(origin) ?? this.#options.open(origin);
    this.#opened.set(origin, opened);
    return opened;
  }

  /** @returns `null` where etcd cannot be read */
  async #etcd<T>(flags: ReadonlyMap<string, string>, work: (client: EtcdClient) => Promise<T>): Promise<T | null> {
    return this.#options.withEtcd(flags, work).catch(() => null);
  }
}

const rootOf = (flags: ReadonlyMap<string, string>): string =>
  `${(flags.get('etcd-prefix') ?? '/registry').replace(/\/+$/, '')}/`;
