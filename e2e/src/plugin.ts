import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon, freePort, launcher } from '@teapot-kms/testing/daemons';
import type { Exit } from '@teapot-kms/testing/daemons';
import { until } from '@teapot-kms/testing';
import { KmsClient } from '@teapot-kms/server';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KeyStoreFixture } from './key-store-fixture.ts';
import { MetricsText } from './metrics.ts';
import { teapot } from './teapot-cli.ts';

export interface PluginOptions {
  readonly directory: string;
  readonly logFile: string;
  /** Further settings of the one instance. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

/** What the plugin must know of a key store. */
type PluginStore = Pick<KeyStoreFixture, 'keys' | 'env'>;

/** The plugin as a process with one instance, `main`. */
export class Plugin {
  readonly configFile: string;
  readonly socket: string;
  readonly #options: PluginOptions;
  readonly #port: number;
  #daemon: Daemon | undefined;
  #env: KeyStoreFixture['env'];

  private constructor(options: PluginOptions, port: number) {
    this.#options = options;
    this.#port = port;
    this.configFile = join(options.directory, 'teapot-kms.yaml');
    this.socket = join(options.directory, 'run/kms.sock');
  }

  static async prepare(options: PluginOptions, store: PluginStore): Promise<Plugin> {
    const plugin = new Plugin(options, await freePort());
    plugin.configure(store);
    return plugin;
  }

  get running(): boolean {
    return this.#daemon?.running ?? false;
  }

  /** Writes its configuration (JSON is YAML). A running plugin notices, but keeps its environment. */
  configure({ keys, env }: PluginStore, settings = this.#options.settings): void {
    this.#env = env;
    const instance = { name: 'main', socket: this.socket, keys, ...settings };
    const stateDirectory = `${this.configFile}.state`;
    const config = { version: 1, http: { port: this.#port }, stateDirectory, instances: [instance] };
    writeFileSync(this.configFile, JSON.stringify(config, null, 2), { mode: 0o600 });
  }

  /** Starts it and waits until it answers. */
  async start(): Promise<void> {
    this.#daemon = this.#spawn();
    await this.#untilAnswering(this.#daemon);
  }

  async stop(): Promise<Exit | undefined> {
    return this.#daemon?.stop();
  }

  async kill(): Promise<void> {
    await this.#daemon?.kill();
  }

  /** Lets this host use the keyset that is configured now, after another one. */
  async confirmKeyset(): Promise<void> {
    await teapot(['keys', 'confirm', '--config', this.configFile], this.#env);
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Starts a successor beside it, which takes the socket over, then ends the old one. */
  async handOver(): Promise<Exit | undefined> {
    const old = this.#daemon;
    const before = inodeOf(this.socket);
    this.#daemon = this.#spawn('--take-over');
    const successor = this.#daemon;
    await until('the successor has the socket', () => {
      successor.checkRunning();
      return inodeOf(this.socket) !== before;
    });
    return old?.stop();
  }

  async metrics(): Promise<MetricsText> {
    // Within a second the plugin gives the same scrape again.
    await sleep(1_100);
    // After a hand-over the successor gets the port only once the old process is gone, at its next try.
    const ask = async (): Promise<MetricsText> =>
      new MetricsText(await (await fetch(`http://127.0.0.1:${this.#port}/metrics`)).text());
    return until("the plugin's metrics answer", ask);
  }

  /** Calls that ended well, of the process that runs now. */
  async calls(api: 'v1beta1' | 'v2', method: string, code = 'OK'): Promise<number> {
    return (await this.metrics()).sum('teapot_kms_requests_total', { api, method, code });
  }

  #spawn(...flags: readonly string[]): Daemon {
    return new Daemon({
      name: 'the plugin',
      command: launcher(),
      args: ['serve', '--config', this.configFile, ...flags],
      logFile: this.#options.logFile,
      ...(this.#env && { env: this.#env }),
    });
  }

  async #untilAnswering(daemon: Daemon): Promise<void> {
    const client = new KmsClient(this.socket, 1_000);
    try {
      await until('the plugin answers', async () => {
        daemon.checkRunning();
        return client.versionV1();
      });
    } finally {
      client.close();
    }
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}
