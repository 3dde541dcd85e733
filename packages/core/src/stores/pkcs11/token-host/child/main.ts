// The token host: a process for one PKCS#11 module, so that the module's crash or hang is not the plugin's (design D8).
// Usage: main.ts MODULE SESSIONS, with an IPC channel and the channel key, 32 bytes, on file descriptor 4.
import { closeSync, readSync } from 'node:fs';
import { extname } from 'node:path';
import { Piscina } from 'piscina';
import { KEY_BYTES } from '../../../../envelope/limits.ts';
import type { FromHost, Reply, Request, ToHost } from '../protocol.ts';
import { describe, loadModule } from './pkcs11.ts';
import type { Pkcs11 } from './pkcs11.ts';
import type { WorkerData } from './worker.ts';

const KEY_DESCRIPTOR = 4;
/** ms for an orderly end. A thread that hangs in the module would keep the process from ending. */
const END_MS = 1_000;

let pool: Piscina<Request, Reply> | undefined;
let module: Pkcs11 | undefined;
let replies: Reply[] = [];

// The plugin decides when to stop: a signal to the process group must not end calls that it waits for.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => void end());
process.on('message', (message: ToHost) => {
  if (message === 'stop') void end();
  else for (const request of message) void perform(request);
});
void start(process.argv[2]!, Number(process.argv[3]));

function send(message: FromHost): void {
  if (process.connected) process.send!(message);
}

async function start(modulePath: string, sessions: number): Promise<void> {
  try {
    const channelKey = readChannelKey();
    // Before the threads: two of them must not initialise the module at once.
    module = loadModule(modulePath);
    const ready = new Int32Array(new SharedArrayBuffer(4));
    const workerData: WorkerData = { modulePath, channelKey, ready };
    pool = new Piscina({
      filename: new URL(`./worker${extname(import.meta.url)}`, import.meta.url).href,
      minThreads: sessions,
      maxThreads: sessions,
      idleTimeout: Infinity,
      recordTiming: false,
      workerData,
    });
    // A call that waited for a thread to load would look like a hang.
    for (let now = 0; (now = Atomics.load(ready, 0)) < sessions;) await Atomics.waitAsync(ready, 0, now).value;
    send({ type: 'started' });
  } catch (error) {
    send({ type: 'broken', message: describe(error) });
  }
}

function readChannelKey(): Uint8Array {
  const key = new Uint8Array(KEY_BYTES);
  const length = readSync(KEY_DESCRIPTOR, key);
  closeSync(KEY_DESCRIPTOR);
  if (length !== KEY_BYTES) throw new Error('the plugin has sent no channel key');
  return key;
}

/** Replies of one turn of the event loop go in one message. */
async function perform(request: Request): Promise<void> {
  const reply = await pool!.run(request).catch((error: unknown): Reply => {
    const failure = { kind: 'unavailable', message: (error as Error).message } as const;
    return { id: request.id, failure, sessionsOpened: 0 };
  });
  if (replies.push(reply) > 1) return;
  setImmediate(() => {
    send({ type: 'replies', replies });
    replies = [];
  });
}

async function end(): Promise<void> {
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), END_MS);
  try {
    // Some tokens have few sessions, and keep those of a process that is gone.
    await pool?.destroy();
    module?.C_Finalize();
  } catch {
    // The process ends in any case.
  }
  process.exit(0);
}
