import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { Hopeless } from '../assert/until.ts';

/** util-linux; sets the signal that the kernel sends to the child when its parent dies, even by SIGKILL. */
const SETPRIV = '/usr/bin/setpriv';

const living = new Set<ChildProcess>();
let watching = false;

/** From the first daemon on, this process ends its daemons when it ends, by a signal too. */
function killWithThisProcess(child: ChildProcess): void {
  living.add(child);
  if (watching) return;
  watching = true;
  process.on('exit', () => {
    for (const one of living) one.kill('SIGKILL');
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
}

export interface DaemonOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Its output is appended here. */
  readonly logFile: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** ms that a process may take to end after SIGTERM. */
const STOP_TIMEOUT_MS = 30_000;

/** One run of a background process, which never outlives this one. */
export class Daemon {
  readonly options: DaemonOptions;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  #exit: Exit | undefined;

  constructor(options: DaemonOptions) {
    this.options = options;
    const log = openSync(options.logFile, 'a', 0o600);
    const command = [options.command, ...options.args];
    if (existsSync(SETPRIV)) command.unshift(SETPRIV, '--pdeathsig', 'KILL', '--');
    const [file = '', ...args] = command;
    this.#child = spawn(file, args, { stdio: ['ignore', log, log], env: { ...process.env, ...options.env } });
    closeSync(log);
    killWithThisProcess(this.#child);
    this.exited = new Promise((resolve) => {
      const end = (exit: Exit): void => {
        living.delete(this.#child);
        this.#exit = exit;
        resolve(exit);
      };
      this.#child.once('exit', (code, signal) => end({ code, signal }));
      this.#child.once('error', () => end({ code: -1, signal: null }));
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  /** For use in {@link until}: a dead process will not become ready. */
  checkRunning(): void {
    if (this.running) return;
    const how = JSON.stringify(this.#exit);
    throw new Hopeless(`${this.options.name} has ended ${how}; the end of its log:\n${this.logTail()}`);
  }

  /** Asks it to end and waits until it has; SIGKILL and an error where it takes too long. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    if (!this.running) return this.exited;
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    const exit = await this.exited;
    clearTimeout(timer);
    if (signal !== 'SIGKILL' && exit.signal === 'SIGKILL') {
      throw new Error(`${this.options.name} did not end within ${STOP_TIMEOUT_MS / 1000} s of ${signal}`);
    }
    return exit;
  }

  kill(): Promise<Exit> {
    return this.stop('SIGKILL');
  }

  logTail(lines = 15): string {
    return readFileSync(this.options.logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }
}
