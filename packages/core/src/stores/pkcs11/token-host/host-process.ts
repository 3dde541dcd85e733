import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { extname } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { FromHost, RepliesAbout, Reply, Request, ToHost } from './protocol.ts';
import { KeyAgreement, SealedChannel } from './sealed-channel.ts';

export interface HostProcessOptions {
  readonly modulePath: string;
  readonly sessions: number;
  /** See {@link TokenHostOptions.callTimeoutMs}. */
  readonly callTimeoutMs: number;
  /** Variables of our environment that it must not get: one may hold a PIN. */
  readonly withheld?: ReadonlySet<string> | undefined;
  readonly onReplies: (replies: readonly Reply[], about: RepliesAbout) => void;
  /** Comes exactly once. @param reason - for an operator; with the last lines that the module printed */
  readonly onEnd: (reason: string) => void;
}

const ENTRY = fileURLToPath(new URL(`./child/main${extname(import.meta.url)}`, import.meta.url));

/** A module that is killed by a signal would leave the PIN and local KEKs in a core file. */
const WITHOUT_CORE = ['-c', 'ulimit -c 0; exec "$0" "$@"'];

/** ms that it may take to end in good order: to close its sessions. */
const STOP_MS = 1_500;

const MAX_OUTPUT = 2_000;

/** Each of the host's threads would have a young generation of that size (ADR 0015). */
const OURS_ALONE = /^--max-semi-space-size=/;

/** One life of the token host's process, from its start to its end. */
export class HostProcess {
  readonly #child: ChildProcess;
  readonly #agreement = new KeyAgreement();
  readonly #ended: Promise<void>;
  #channel: SealedChannel | undefined;
  #output = '';
  #threads = 1;
  #killedFor: string | undefined;
  /** Resolves with what seals for it once the module is initialised; never when it ends before. */
  readonly started: Promise<SealedChannel>;

  constructor(options: HostProcessOptions) {
    const args = [...process.execArgv.filter((arg) => !OURS_ALONE.test(arg)), ENTRY];
    const command = existsSync('/bin/sh')
      ? ['/bin/sh', ...WITHOUT_CORE, process.execPath, ...args]
      : [process.execPath, ...args];
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !options.withheld?.has(name)));
    this.#child = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'advanced',
      env,
    });
    // There is none where the plugin is out of file descriptors; then all that comes is an error.
    const stderr = this.#child.stderr as Readable | null | undefined;
    stderr?.on('data', (chunk: Buffer) => {
      this.#output = (this.#output + chunk.toString()).slice(-MAX_OUTPUT);
    });
    const { promise, resolve } = Promise.withResolvers<SealedChannel>();
    this.started = promise;
    this.#child.on('message', (message: FromHost) => {
      if (message.type === 'replies') options.onReplies(message.replies, message.about);
      else if (message.type === 'thread') this.#threads++;
      else if (message.type === 'broken') this.kill(`the module cannot be used: ${message.message}`);
      else {
        this.#channel = new SealedChannel(this.#agreement.agree(message.publicKey), 'plugin');
        resolve(this.#channel);
      }
    });
    this.#ended = new Promise((ended) => {
      const end = (how: string) => {
        this.#channel?.destroy();
        ended();
        options.onEnd(this.#killedFor ?? `it ended by itself, ${how}${this.#lastLines()}`);
      };
      this.#child.once('error', (error) => end(error.message));
      this.#child.once('exit', (code, signal) => end(signal ? `by ${signal}` : `with code ${String(code)}`));
    });
    const { modulePath, sessions, callTimeoutMs } = options;
    this.#send({ type: 'start', modulePath, sessions, callTimeoutMs, publicKey: this.#agreement.publicKey });
  }

  /** Threads that take calls. */
  get threads(): number {
    return this.#threads;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  request(requests: readonly Request[]): void {
    this.#send({ type: 'requests', requests });
  }

  /** Ends it at once, whatever it does. */
  kill(reason: string): void {
    this.#killedFor ??= reason;
    this.#child.kill('SIGKILL');
  }

  /** Lets it close its sessions, and ends it. */
  async stop(): Promise<void> {
    this.#killedFor ??= 'it was stopped';
    this.#send({ type: 'stop' });
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  #send(message: ToHost): void {
    // A pipe that is broken belongs to a process that ends, and that is told elsewhere.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  #lastLines(): string {
    const text = this.#output.trim();
    return text === '' ? '' : `; it last printed: ${text.split('\n').slice(-3).join(' | ')}`;
  }
}
