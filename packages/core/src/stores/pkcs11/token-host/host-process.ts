import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { extname } from 'node:path';
import type { Duplex, Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../../../util/clock.ts';
import { safeText } from '../../../util/safe-text.ts';
import type { SecretBytes } from '../../../util/secret-bytes.ts';
import { HostPipe } from './host-pipe.ts';
import { ModuleOutput } from './module-output.ts';
import type { FromHost, Reply, ToHost } from './protocol.ts';

export interface HostProcessOptions {
  readonly modulePath: string;
  /** What C_Initialize gets as LibraryParameters. */
  readonly parameters?: string | undefined;
  /** Threads of the process, each with its own session: calls that the token may do at a time. */
  readonly sessions: number;
  /** Variables of the plugin's environment that the process must not get: each may hold a PIN. */
  readonly withheld?: ReadonlySet<string> | undefined;
  /** Where the PINs are that the module gets. */
  readonly pinSources?: ReadonlySet<string> | undefined;
  /** Seals what crosses the pipe. Stays the caller's. */
  readonly channelKey: SecretBytes;
  readonly clock: Clock;
  readonly onStarted: () => void;
  readonly onReplies: (replies: readonly Reply[]) => void;
  /** Each thread needs a login of its own. */
  readonly onLoginOfThread: () => void;
  /** Called exactly once. `reason` is for an operator, and has the last lines that the module printed. */
  readonly onEnd: (reason: string) => void;
}

const ENTRY = fileURLToPath(new URL(`./child/main${extname(import.meta.url)}`, import.meta.url));

/** A core file of a process that a signal kills would hold the PIN and local KEKs. */
const WITHOUT_CORE = ['-c', 'ulimit -c 0; exec "$0" "$@"'];

/** The module's own initialisation may take this long, in ms. */
const START_TIMEOUT_MS = 30_000;

/** ms for an orderly end, in which the process closes its sessions. */
const STOP_MS = 1_500;

const MAX_REASON = 1_000;
const STOPPED = 'it was stopped';

/** Each thread of the process would get a young generation of that size (ADR 0015). */
const FOR_THE_PLUGIN_ONLY = /^--max-semi-space-size=/;

/** One process of the token host, from its start to its end. */
export class HostProcess {
  readonly #options: HostProcessOptions;
  readonly #child: ChildProcess;
  readonly #pipe: HostPipe;
  readonly #clock: Clock;
  readonly #ended: Promise<void>;
  readonly #stopWaiting: () => void;
  readonly #output = new ModuleOutput();
  readonly #pinSources: ReadonlySet<string>;
  #killedFor: string | undefined;

  /** @throws what `spawn` throws where the system has no memory for another process */
  constructor(options: HostProcessOptions) {
    const { modulePath, parameters = '', sessions, withheld, channelKey, clock, onEnd } = options;
    this.#options = options;
    this.#clock = clock;
    this.#pinSources = options.pinSources ?? new Set();
    const flags = process.execArgv.filter((flag) => !FOR_THE_PLUGIN_ONLY.test(flag));
    const node = [process.execPath, ...flags, ENTRY, modulePath, String(sessions)];
    const [command, ...args] = existsSync('/bin/sh') ? ['/bin/sh', ...WITHOUT_CORE, ...node] : node;
    this.#child = spawn(command!, args, {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
      env: Object.fromEntries(Object.entries(process.env).filter(([name]) => !withheld?.has(name))),
    });
    // Without a free file descriptor there are no pipes, and the child emits an error.
    const pipes = this.#child.stdio as ChildProcess['stdio'] | undefined;
    (pipes?.[2] as Readable | undefined)?.on('data', (chunk: Buffer) => {
      this.#output.add(chunk);
    });
    // A process that ends before it reads the key is reported as ended.
    const secrets = (pipes?.[4] as Writable | undefined)?.on('error', () => undefined);
    secrets?.write(channelKey.expose());
    secrets?.end(parameters);

    this.#stopWaiting = clock.after(START_TIMEOUT_MS, () => {
      this.kill(`the module did not initialise within ${START_TIMEOUT_MS / 1_000} s`);
    });
    this.#pipe = new HostPipe(pipes?.[3] as Duplex | undefined, {
      onMessage: (message) => this.#onMessage(message),
      onViolation: (reason) => this.kill(reason),
    });
    this.#ended = new Promise((ended) => {
      const end = (how: string) => {
        this.#stopWaiting();
        this.#pipe.close();
        ended();
        void this.#reason(how).then(onEnd);
      };
      this.#child.once('error', (error) => end(error.message));
      this.#child.once('exit', (code, signal) => end(signal ? `by ${signal}` : `with code ${String(code)}`));
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  #onMessage(message: FromHost): void {
    const { onStarted, onReplies, onLoginOfThread } = this.#options;
    if (message.type === 'replies') return onReplies(message.replies);
    if (message.type === 'login-of-a-thread') return onLoginOfThread();
    this.#stopWaiting();
    if (message.type === 'broken') this.kill(`the module cannot be used: ${message.message}`);
    else onStarted();
  }

  send(message: ToHost): void {
    this.#pipe.send(message);
  }

  /** Ends the process at once, whatever it does. */
  kill(reason: string): void {
    this.#killedFor ??= reason;
    this.#child.kill('SIGKILL');
  }

  /** Why the process has ended. The module chooses what it prints. */
  async #reason(how: string): Promise<string> {
    const why = this.#killedFor ?? `it ended by itself, ${how}`;
    const isQuiet = this.#killedFor === STOPPED || this.#output.isEmpty;
    const lines = isQuiet ? [] : [await this.#output.lastLines(this.#pinSources, this.#clock)];
    return safeText([why, ...lines].join('; '), MAX_REASON);
  }

  /** Lets the process close its sessions, and resolves when it has ended. */
  async stop(): Promise<void> {
    this.#killedFor ??= STOPPED;
    this.send('stop');
    const stopWaiting = this.#clock.after(STOP_MS, () => this.#child.kill('SIGKILL'));
    await this.#ended;
    stopWaiting();
  }
}
