import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileKeys } from './key-stores.ts';
import type { KeyStore } from './key-stores.ts';
import { startPeer } from './peer.ts';
import type { PeerOptions } from './peer.ts';
import { PluginServer } from './plugin.ts';
import type { PluginOptions } from './plugin.ts';
import type { Server } from './server.ts';

/** The directory and the servers of a scenario. Disposal stops the servers and removes the directory. */
export class Rig implements AsyncDisposable {
  readonly #root = mkdtempSync(join(tmpdir(), 'teapot-bench-'));
  readonly #parts = new AsyncDisposableStack();
  #paths = 0;

  /** Returns a new path. Nothing exists there yet. */
  path(): string {
    return join(this.#root, String(this.#paths++));
  }

  /** Stops `part` at the end of the scenario. */
  ends(part: { stop(): Promise<unknown> }): void {
    this.#parts.defer(async () => {
      await part.stop();
    });
  }

  /** Starts the Go reference: grpc-go and AES-256-GCM with a key in memory. */
  reference(): Promise<Server> {
    return this.peer({ kind: 'reference', name: 'Go reference' });
  }

  async peer(options: Omit<PeerOptions, 'directory'>): Promise<Server> {
    const server = await startPeer({ directory: this.path(), ...options });
    this.ends(server);
    return server;
  }

  /** Starts the plugin with one instance. The default key store is a keyset directory. */
  async plugin(name = 'plugin (file)', store?: KeyStore): Promise<Server> {
    const { keys, env } = store ?? (await fileKeys(this.path()));
    return this.start({ instances: [{ name: 'main', keys }], name, ...(env && { env }) });
  }

  /** Starts the plugin and waits until every instance is ready. */
  async start(options: Omit<PluginOptions, 'directory'>): Promise<PluginServer> {
    const plugin = await PluginServer.start({ directory: this.path(), ...options });
    this.ends(plugin);
    return plugin;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
    rmSync(this.#root, { recursive: true, force: true });
  }
}
