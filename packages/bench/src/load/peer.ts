import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { untilReady } from './plugin.ts';
import { Server } from './server.ts';
import { teapotBench } from './teapot-bench.ts';

export interface PeerOptions {
  /** For its log and socket; made where it is missing. */
  readonly directory: string;
  /** `serve KIND` of packages/bench/peers. */
  readonly kind: 'reference' | 'barbican' | 'pkcs11';
  /** What is given to it besides its socket. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What results call it. */
  readonly name?: string;
}

/** Starts what the plugin is compared with, and waits until it answers. */
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
