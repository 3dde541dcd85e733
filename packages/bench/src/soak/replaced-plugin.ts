import { until } from '@teapot-kms/testing';
import { statSync } from 'node:fs';
import { PluginServer, untilReady } from '../load/plugin.ts';
import type { PluginInstance, PluginOptions } from '../load/plugin.ts';

/** How a plugin is replaced. */
export const RESTARTS = ['SIGTERM', 'SIGKILL', 'hand-over'] as const;

/** A plugin that gets a successor again and again. */
export class ReplacedPlugin {
  readonly instances: readonly PluginInstance[];
  readonly #options: PluginOptions;
  #plugin: PluginServer | undefined;

  constructor(options: PluginOptions) {
    this.instances = options.instances;
    this.#options = options;
  }

  get sockets(): readonly string[] {
    return this.#plugin!.sockets;
  }

  async start(): Promise<void> {
    this.#plugin = await PluginServer.start(this.#options);
  }

  /** Resolves when the successor is ready on every socket. */
  async replace(how: (typeof RESTARTS)[number]): Promise<void> {
    const before = this.#plugin!;
    if (how === 'hand-over') {
      const inodes = inodesOf(this.sockets);
      const successor = new PluginServer({ ...this.#options, args: ['--take-over'] });
      this.#plugin = successor;
      await until('the successor has all sockets', () => {
        successor.daemon.checkRunning();
        return inodesOf(this.sockets).every((inode, index) => inode !== inodes[index]);
      });
      await before.stop();
      for (const socket of this.sockets) await untilReady(successor, socket);
    } else {
      await before.daemon.stop(how);
      await this.start();
    }
  }

  async stop(): Promise<void> {
    await this.#plugin?.stop();
  }
}

function inodesOf(sockets: readonly string[]): number[] {
  return sockets.map((socket) => statSync(socket).ino);
}
