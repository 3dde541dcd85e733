// A worker thread of the token host: it has a session of its own and makes one call of the module at a time.
import { workerData } from 'piscina';
import { SecretBytes } from '../../secret-bytes.ts';
import type { Reply, Request } from '../protocol.ts';
import { SealedChannel } from '../sealed-channel.ts';
import { failureOf } from './failures.ts';
import { TokenOperations } from './operations.ts';
import { loadModule } from './pkcs11.ts';

export interface WorkerData {
  readonly modulePath: string;
  readonly channelKey: Uint8Array;
  /** Shared by all: counts the threads that are ready. */
  readonly ready: Int32Array;
}

/** What a worker is given at a time, and what comes back. */
export interface Done {
  readonly replies: readonly Reply[];
  /** ms that it took. */
  readonly tookMs: number;
  readonly sessionsOpened: number;
}

const { modulePath, channelKey, ready } = workerData as WorkerData;
const channel = new SealedChannel(new SecretBytes(Buffer.from(channelKey.buffer)), 'host');
const operations = new TokenOperations(loadModule(modulePath), channel);
Atomics.add(ready, 0, 1);
Atomics.notify(ready, 0);

export default function work(requests: readonly Request[]): Done {
  const started = performance.now();
  const opened = operations.sessions.opened;
  const replies = requests.map(reply);
  return { replies, tookMs: performance.now() - started, sessionsOpened: operations.sessions.opened - opened };
}

function reply({ id, ask }: Request): Reply {
  try {
    return { id, value: exact(operations.perform(ask)) };
  } catch (error) {
    return { id, failure: failureOf(error) };
  }
}

/** A buffer that shares its memory with others would be cloned with all of them. */
function exact(value: unknown): unknown {
  return value instanceof Uint8Array ? new Uint8Array(value) : value;
}
