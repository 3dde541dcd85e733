// A worker thread of the token host: it has a session of its own and makes one call of the module at a time.
import { workerData } from 'piscina';
import { SecretBytes } from '../../../../util/secret-bytes.ts';
import type { Reply, Request } from '../protocol.ts';
import { SealedChannel } from '../sealed-channel.ts';
import { failureOf } from './failures.ts';
import { TokenOperations } from './operations.ts';
import { loadModule } from './pkcs11.ts';

export interface WorkerData {
  readonly modulePath: string;
  readonly callTimeoutMs: number;
  readonly channelKey: Uint8Array;
  /** Shared by all: counts the threads that are ready. */
  readonly ready: Int32Array;
}

/** What comes back from what a worker was given. */
export interface Done {
  /** To the first of the requests, in their order: at least to one. */
  readonly replies: readonly Reply[];
  /** ms that it took. */
  readonly tookMs: number;
  /** ms of each wrap and unwrap that went well, as only those say how fast the token is. */
  readonly keyMs: readonly number[];
  readonly sessionsOpened: number;
}

/** ms after which no other request is begun: those that are done must not wait for it, nor it count as under way. */
const ENOUGH_MS = 5;

const { modulePath, callTimeoutMs, channelKey, ready } = workerData as WorkerData;
const channel = new SealedChannel(new SecretBytes(Buffer.from(channelKey.buffer)), 'host');
const operations = new TokenOperations(loadModule(modulePath), channel, callTimeoutMs);
Atomics.add(ready, 0, 1);
Atomics.notify(ready, 0);

export default function work(requests: readonly Request[]): Done {
  const started = performance.now();
  const opened = operations.sessions.opened;
  const replies: Reply[] = [];
  const keyMs: number[] = [];
  let now = started;
  for (const request of requests) {
    const begun = now;
    const one = reply(request);
    now = performance.now();
    replies.push(one);
    if (!one.failure && (request.ask.op === 'wrap' || request.ask.op === 'unwrap')) keyMs.push(now - begun);
    if (now - started > ENOUGH_MS) break;
  }
  return { replies, tookMs: now - started, keyMs, sessionsOpened: operations.sessions.opened - opened };
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
