import { KmsClient } from '@teapot-kms/server';
import { Daemon, until } from '@teapot-kms/test-parts';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** As an installation has it: compiled, not from the sources. */
const MAIN = join(import.meta.dirname, '../../server/dist/cli/main.js');

/** ms that a plugin with hundreds of instances may take to answer on all of them. */
const READY_TIMEOUT_MS = 120_000;
/** Small beside what is measured, large beside what a look costs. */
const POLL_MS = 1;

export interface PluginInstance {
  readonly name: string;
  readonly socket: string;
  readonly keys: Readonly<Record<string, unknown>>;
  readonly [setting: string]: unknown;
}

export interface PluginProcessOptions {
  /** For its configuration and its log. */
  readonly directory: string;
  readonly instances: readonly PluginInstance[];
  /** For Node itself, such as `--cpu-prof`. */
  readonly nodeArgs?: readonly string[];
}

/** The built plugin in a process of its own, started at once. */
export class PluginProcess {
  readonly #daemon: Daemon;
  readonly #instances: readonly PluginInstance[];

  constructor({ directory, instances, nodeArgs = [] }: PluginProcessOptions) {
    this.#instances = instances;
    const config = join(directory, 'teapot-kms.yaml');
    writeFileSync(config, JSON.stringify({ version: 1, http: false, instances }), { mode: 0o600 });
    this.#daemon = new Daemon({
      name: 'the plugin',
      command: process.execPath,
      args: ['--disable-sigusr1', ...nodeArgs, MAIN, 'serve', '--config', config],
      logFile: join(directory, 'plugin.log'),
    });
  }

  static missing(): string | undefined {
    return existsSync(MAIN) ? undefined : 'the plugin is not built: npm run build';
  }

  get pid(): number {
    return this.#daemon.pid!;
  }

  /** Memory that is resident now, in kB. */
  get residentKb(): number {
    const [, kilobytes] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8')) ?? [];
    return Number(kilobytes);
  }

  /** Waits until each instance has given a good Status, one after the other. */
  async untilReady(): Promise<void> {
    for (const { name, socket } of this.#instances) await this.#untilAnswering(name, socket);
  }

  async stop(): Promise<void> {
    await this.#daemon.stop();
  }

  async #untilAnswering(name: string, socket: string): Promise<void> {
    const options = { timeoutMs: READY_TIMEOUT_MS, everyMs: POLL_MS };
    // A client that finds no socket waits for a second before it looks again.
    const listens = (): boolean => {
      this.#daemon.checkRunning();
      return existsSync(socket);
    };
    await until(`${name} listens`, listens, options);
    const client = new KmsClient(socket);
    try {
      await until(`${name} is well`, async () => (await client.status()).healthz === 'ok', options);
    } finally {
      client.close();
    }
  }
}
