import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileKeys } from './key-stores.ts';
import type { KeyStore } from './key-stores.ts';
import { startPeer } from './peer.ts';
import type { PeerOptions } from './peer.ts';
import { PluginServer } from './plugin.ts';
import type { Server } from './server.ts';

/** The directory and the servers of a scenario, which end with it. */
export class Rig implements AsyncDisposable {
  readonly #root = mkdtempSync(join(tmpdir(), 'teapot-bench-'));
  readonly #parts = new AsyncDisposableStack();
  #paths = 0;

  /** Where nothing is yet, and a file or directory may be made. */
  path(): string {
    return join(this.#root, String(this.#paths++));
  }

  /** Something else that must end with the scenario. */
  ends(part: { stop(): Promise<unknown> }): void {
    this.#parts.defer(async () => {
      await part.stop();
    });
  }

  /** grpc-go with AES-256-GCM and a key in memory. */
  reference(): Promise<Server> {
    return this.peer({ kind: 'reference', name: 'Go reference' });
  }

  async peer(options: Omit<PeerOptions, 'directory'>): Promise<Server> {
    const server = await startPeer({ directory: this.path(), ...options });
    this.ends(server);
    return server;
  }

  /** The plugin with one instance; on a keyset directory where nothing else is said. */
  async plugin(name = 'plugin (file)', store?: KeyStore): Promise<Server> {
    const { keys, env } = store ?? (await fileKeys(this.path()));
    const instances = [{ name: 'main', keys }];
    const plugin = await PluginServer.start({ directory: this.path(), instances, name, ...(env && { env }) });
    this.ends(plugin);
    return plugin;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
    rmSync(this.#root, { recursive: true, force: true });
  }
}
