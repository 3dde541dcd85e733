// The token host: a process for one PKCS#11 module, so that the module's crash or hang is not the plugin's (design D8).
import { extname } from 'node:path';
import { Piscina } from 'piscina';
import type { FromHost, Request, ToHost } from '../protocol.ts';
import { KeyAgreement } from '../sealed-channel.ts';
import { Dispatcher } from './dispatcher.ts';
import { describe, loadModule } from './pkcs11.ts';
import type { Pkcs11 } from './pkcs11.ts';
import type { Done, WorkerData } from './worker.ts';

/** ms for an orderly end; a thread that hangs in the module would keep the process from ending otherwise. */
const END_MS = 1_000;

let pool: Piscina<readonly Request[], Done> | undefined;
let dispatcher: Dispatcher | undefined;
let module: Pkcs11 | undefined;

// The plugin says when to stop: a signal to the whole process group must not end calls that it waits for.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => void end());
process.on('message', (message: ToHost) => {
  if (message.type === 'start') void start(message);
  else if (message.type === 'requests') dispatcher?.add(message.requests.map(exact));
  else void end();
});

function send(message: FromHost): void {
  if (process.connected) process.send!(message);
}

async function start({
  modulePath,
  sessions,
  callTimeoutMs,
  publicKey,
}: Extract<ToHost, { type: 'start' }>): Promise<void> {
  try {
    // Here and not in the threads: two at once must not initialise it.
    module = loadModule(modulePath);
    const agreement = new KeyAgreement();
    const key = agreement.agree(publicKey);
    const ready = new Int32Array(new SharedArrayBuffer(4));
    const workerData: WorkerData = { modulePath, callTimeoutMs, channelKey: new Uint8Array(key.expose()), ready };
    key.wipe();
    pool = new Piscina({
      filename: new URL(`./worker${extname(import.meta.url)}`, import.meta.url).href,
      // The first call must not wait for all of them to load.
      minThreads: 1,
      maxThreads: sessions,
      idleTimeout: Infinity,
      recordTiming: false,
      workerData,
    });
    const running = pool;
    dispatcher = new Dispatcher({
      run: (requests) => running.run(requests),
      onReplies: (replies, about) => send({ type: 'replies', replies, about }),
    });
    await untilReady(ready, 1);
    dispatcher.addThread();
    send({ type: 'started', publicKey: agreement.publicKey });
    // A task for each, and one that the first takes, makes the pool start the others. Only those that have loaded count: what
    // waits for one does not hang.
    for (let thread = 1; thread <= sessions; thread++) void running.run([]);
    for (let thread = 2; thread <= sessions; thread++) {
      await untilReady(ready, thread);
      dispatcher.addThread();
      send({ type: 'thread' });
    }
  } catch (error) {
    send({ type: 'broken', message: describe(error) });
  }
}

async function untilReady(ready: Int32Array, threads: number): Promise<void> {
  for (let now = 0; (now = Atomics.load(ready, 0)) < threads;) await Atomics.waitAsync(ready, 0, now).value;
}

async function end(): Promise<void> {
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), END_MS);
  try {
    // Some tokens keep the sessions of a process that is gone, and have few of them.
    await pool?.destroy();
    module?.C_Finalize();
  } catch {
    // Nothing is left to be done about it.
  }
  process.exit(0);
}

/** What came over the pipe is a view of the whole message, and would be cloned for a thread with all of it. */
function exact({ id, ask }: Request): Request {
  const fields = Object.entries(ask).map(([name, value]: [string, unknown]) => [
    name,
    value instanceof Uint8Array ? new Uint8Array(value) : value,
  ]);
  return { id, ask: Object.fromEntries(fields) as Request['ask'] };
}
