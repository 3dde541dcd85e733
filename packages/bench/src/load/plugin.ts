import { KmsClient } from '@teapot-kms/server';
import { until } from '@teapot-kms/testing';
import { launcher, nodeFlags } from '@teapot-kms/testing/daemons';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server } from './server.ts';

/** What the launcher runs. */
const MAIN = join(import.meta.dirname, '../../../server/dist/cli/main.js');

export interface PluginInstance {
  readonly name: string;
  /** Default: a socket in the plugin's directory. */
  readonly socket?: string;
  readonly keys: Readonly<Record<string, unknown>>;
  readonly [setting: string]: unknown;
}

export interface PluginOptions {
  /** For configuration, log and sockets; created if missing. */
  readonly directory: string;
  readonly instances: readonly PluginInstance[];
  readonly env?: Readonly<Record<string, string>>;
  /** Other top-level settings of the configuration. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Further arguments of `serve`. */
  readonly args?: readonly string[];
  /** Arguments of Node, such as `--cpu-prof`. */
  readonly nodeArgs?: readonly string[];
  /** Name in the results. */
  readonly name?: string;
}

/** A plugin process, started as by its unit file. */
export class PluginServer extends Server {
  readonly sockets: readonly string[];

  /** Starts the plugin without waiting. */
  constructor({ directory, instances, env, settings, args = [], nodeArgs = [], name = 'plugin' }: PluginOptions) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const sockets = instances.map((one) => one.socket ?? join(directory, `run/${one.name}.sock`));
    const config = {
      version: 1,
      http: false,
      stateDirectory: join(directory, 'state'),
      ...settings,
      instances: instances.map((one, index) => ({ ...one, socket: sockets[index] })),
    };
    const configFile = join(directory, 'teapot-kms.yaml');
    writeFileSync(configFile, JSON.stringify(config), { mode: 0o600 });
    super(sockets[0]!, {
      name,
      ...commandLine(nodeArgs, 'serve', '--config', configFile, ...args),
      logFile: join(directory, 'plugin.log'),
      ...(env && { env }),
    });
    this.sockets = sockets;
  }

  /** Starts the plugin and waits until every instance is ready. */
  static async start(options: PluginOptions): Promise<PluginServer> {
    const plugin = new PluginServer(options);
    for (const socket of plugin.sockets) await untilReady(plugin, socket);
    return plugin;
  }
}

/** The launcher; with more arguments for Node, what the launcher runs. */
function commandLine(nodeArgs: readonly string[], ...args: readonly string[]) {
  const command = launcher();
  if (nodeArgs.length === 0) return { command, args };
  return { command: process.execPath, args: [...nodeFlags(), ...nodeArgs, MAIN, ...args] };
}

/** Waits until the KMS v2 Status is ok. */
export async function untilReady(server: Server, socket = server.socket): Promise<void> {
  const client = new KmsClient(socket, 1_000);
  try {
    await until(
      `${server.name} is ready on ${socket}`,
      async () => {
        server.daemon.checkRunning();
        return (await client.status()).healthz === 'ok';
      },
      { everyMs: 20 },
    );
  } finally {
    client.close();
  }
}
