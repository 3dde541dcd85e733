// A thread of the token host: it has a session of its own, and makes one call of the module at a time.
import { workerData } from 'piscina';
import { SecretBytes } from '../../../../util/secret-bytes.ts';
import type { Reply, Request } from '../protocol.ts';
import { SealedChannel } from '../sealed-channel.ts';
import { failureOf } from './failures.ts';
import { TokenOperations } from './operations.ts';
import { loadModule } from './pkcs11.ts';

export interface WorkerData {
  readonly modulePath: string;
  /** For {@link loadModule}. */
  readonly parameters: string;
  readonly channelKey: Uint8Array;
  /** Counts the threads that are ready. All share it. */
  readonly ready: Int32Array;
  /** Counts those for which the module has been initialised once more. */
  readonly initialised: Int32Array;
}

const { modulePath, parameters, channelKey, ready, ...counts } = workerData as WorkerData;
const key = new SecretBytes(Buffer.from(channelKey.buffer));
const { module, initialised } = loadModule(modulePath, parameters);
const operations = new TokenOperations(module, new SealedChannel(key));
key.wipe();
if (initialised) Atomics.add(counts.initialised, 0, 1);
Atomics.add(ready, 0, 1);
Atomics.notify(ready, 0);

export default function perform({ id, ask }: Request): Reply {
  const before = operations.sessionsOpened;
  let outcome: Pick<Reply, 'value' | 'failure'>;
  try {
    const value = operations.perform(ask);
    // A buffer from Node's pool would be cloned with all of the pool.
    outcome = { value: value instanceof Uint8Array ? new Uint8Array(value) : value };
  } catch (error) {
    const { kind, message } = failureOf(error);
    outcome = { failure: { kind, message } };
  }
  return { id, ...outcome, sessionsOpened: operations.sessionsOpened - before };
}
