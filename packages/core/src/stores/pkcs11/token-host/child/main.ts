// The token host: a process for one PKCS#11 module, so that the module's crash or hang is not the plugin's (design D8).
// Usage: main.ts MODULE SESSIONS, with a pipe for messages on file descriptor 3, and on 4 the channel key, 32 bytes, and after it what
// C_Initialize gets as LibraryParameters.
import { closeSync, readFileSync, readSync } from 'node:fs';
import { Socket } from 'node:net';
import { extname } from 'node:path';
import { Piscina } from 'piscina';
import { KEY_BYTES } from '../../../../envelope/limits.ts';
import { encodeMessage, MAX_MESSAGE_BYTES, MessageReader } from '../message-pipe.ts';
import type { FromHost, Reply, Request, ToHost, TokenSelector } from '../protocol.ts';
import { describe, loadModule } from './pkcs11.ts';
import type { Pkcs11 } from './pkcs11.ts';
import { Session } from './sessions.ts';
import type { WorkerData } from './worker.ts';

const MESSAGE_DESCRIPTOR = 3;
const KEY_DESCRIPTOR = 4;
/** ms for an orderly end. A thread that hangs in the module would keep the process from ending. */
const END_MS = 1_000;

const pipe = new Socket({ fd: MESSAGE_DESCRIPTOR, readable: true, writable: true });
let pool: Piscina<Request, Reply> | undefined;
let module: Pkcs11 | undefined;
/** Threads for which the module has a state of their own. */
const initialised = new Int32Array(new SharedArrayBuffer(4));
let replies: Reply[] = [];

// The plugin decides when to stop: a signal to the process group must not end calls that it waits for.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
const reader = new MessageReader((message) => {
  if ((message as ToHost) === 'stop') void end();
  else for (const request of message as Exclude<ToHost, 'stop'>) void perform(request);
});
pipe
  .on('data', (chunk: Buffer) => reader.add(chunk))
  .on('error', () => undefined)
  // The plugin is gone.
  .on('close', () => void end());
void start(process.argv[2]!, Number(process.argv[3]));

function send(message: FromHost): void {
  pipe.write(encodeMessage(message));
}

async function start(modulePath: string, sessions: number): Promise<void> {
  try {
    const [channelKey, parameters] = readSecrets();
    // Before the threads: two of them must not initialise the module at once.
    ({ module } = loadModule(modulePath, parameters));
    const ready = new Int32Array(new SharedArrayBuffer(4));
    const workerData: WorkerData = { modulePath, parameters, channelKey, ready, initialised };
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

function readSecrets(): [channelKey: Uint8Array, parameters: string] {
  const key = new Uint8Array(KEY_BYTES);
  const length = readSync(KEY_DESCRIPTOR, key);
  const parameters = readFileSync(KEY_DESCRIPTOR, 'utf8');
  closeSync(KEY_DESCRIPTOR);
  if (length !== KEY_BYTES) throw new Error('the plugin has sent no channel key');
  return [key, parameters];
}

/** Replies of one turn of the event loop go in one message. */
async function perform(request: Request): Promise<void> {
  const reply = await pool!.run(request).catch((error: unknown): Reply => {
    const failure = { kind: 'unavailable', message: (error as Error).message } as const;
    return { id: request.id, failure, sessionsOpened: 0 };
  });
  if (replies.push(reply) === 1) {
    setImmediate(() => {
      sendReplies(replies);
      replies = [];
    });
  }
  if (request.ask.op !== 'login' || reply.value !== true || Atomics.load(initialised, 0) === 0) return;
  const { token } = request.ask;
  // After the reply, which must not be lost: the module may hang.
  setImmediate(() => {
    if (!isLoggedInHere(token)) send({ type: 'login-of-a-thread' });
  });
}

function sendReplies(replies: readonly Reply[]): void {
  const bytes = encodeMessage({ type: 'replies', replies } satisfies FromHost);
  if (bytes.length <= MAX_MESSAGE_BYTES || replies.length === 1) pipe.write(bytes);
  else for (const reply of replies) sendReplies([reply]);
}

/** Whether the login of another thread is valid for this one, too. */
function isLoggedInHere(token: TokenSelector): boolean {
  try {
    const session = new Session(module!, token);
    try {
      return session.loggedIn;
    } finally {
      session.close();
    }
  } catch {
    return true;
  }
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
