import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { untilReady } from './plugin.ts';
import { Server } from './server.ts';
import { teapotBench } from './teapot-bench.ts';

export interface PeerOptions {
  /** For the log and the socket; created if missing. */
  readonly directory: string;
  /** KIND of `teapot-bench serve KIND`; see packages/bench/peers. */
  readonly kind: 'reference' | 'barbican' | 'pkcs11';
  /** Arguments besides the socket. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Name in the results. */
  readonly name?: string;
}

/** Starts a server to compare the plugin with, and waits until it is ready. */
export async function startPeer({ directory, kind, args = [], env, name = kind }: PeerOptions): Promise<Server> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const socket = join(directory, 'kms.sock');
  const server = new Server(socket, {
    name,
    command: teapotBench(),
    args: ['serve', kind, '--socket', socket, ...args],
    logFile: join(directory, 'peer.log'),
    ...(env && { env }),
  });
  await untilReady(server);
  return server;
}
