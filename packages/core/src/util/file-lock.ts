import { readFileSync, readlinkSync } from 'node:fs';
import type * as nodeFs from 'node:fs/promises';
import type { KmsError } from '../errors.ts';
import { sleep, systemClock } from './clock.ts';
import type { Clock } from './clock.ts';

/** Takeovers and releases to wait for before the lock counts as busy. */
const TAKEOVER_ROUNDS = 5;
const TAKEOVER_WAIT_MS = 10;

/** Time in ms between two checks of a lock whose owner is alive. */
const OWNER_WAIT_MS = 50;

/** Age in ms at which a lock counts as stale if its owner is in another container and cannot be seen from here. */
const UNSEEN_OWNER_MS = 120_000;

export interface FileLockOptions {
  readonly fs: typeof nodeFs;
  readonly clock?: Clock;
  /** Time in ms to wait for an owner that is alive. */
  readonly waitMs: number;
  /** The error for a lock that cannot be taken. `pid` is empty if the owner changes too fast to be seen. */
  readonly busy: (pid: string) => KmsError;
}

/**
 * Runs `work` while holding the lock at `path`: one holder at a time on this host, across processes. A lock whose owner is dead is taken
 * over.
 *
 * The lock is a symbolic link, because it is created together with its content. Its target identifies the owner: process id, start time of
 * the process, boot id of the host, and PID namespace. Process ids are reused, and in containers many processes have the id 1.
 */
export async function withFileLock<T>(path: string, options: FileLockOptions, work: () => Promise<T>): Promise<T> {
  const lock = new FileLock(path, options);
  await lock.take();
  try {
    return await work();
  } finally {
    await lock.release();
  }
}

class FileLock {
  readonly #path: string;
  readonly #options: FileLockOptions;
  readonly #fs: typeof nodeFs;
  readonly #clock: Clock;
  readonly #self = describeProcess();

  constructor(path: string, options: FileLockOptions) {
    this.#path = path;
    this.#options = options;
    this.#fs = options.fs;
    this.#clock = options.clock ?? systemClock;
  }

  async take(): Promise<void> {
    const started = this.#clock.now();
    for (let rounds = 1; ; rounds++) {
      if (await this.#link(this.#path)) return;
      const owner = await this.#ownerOf(this.#path);
      const alive = owner !== undefined && (await this.#isAlive(owner, this.#path));
      if (alive) rounds = 0;
      if (alive ? this.#clock.now() - started >= this.#options.waitMs : rounds === TAKEOVER_ROUNDS) {
        throw this.#options.busy(owner?.split(' ')[0] ?? '');
      }
      if (!alive && owner !== undefined) await this.#removeStale(owner);
      await sleep(this.#clock, alive ? OWNER_WAIT_MS : TAKEOVER_WAIT_MS);
    }
  }

  /** Removes the lock, unless another process has taken it over. */
  async release(): Promise<void> {
    if ((await this.#ownerOf(this.#path)) === this.#self) await this.#fs.rm(this.#path, { force: true });
  }

  /**
   * Removes a dead owner's lock. Only one process at a time may do that, and it reads the lock again first: otherwise the second of two
   * could remove the lock that the first has just taken. A process that dies in between is detected in the same way. A small race remains;
   * what the lock protects must tolerate it.
   */
  async #removeStale(owner: string): Promise<void> {
    const breaking = `${this.#path}.breaking`;
    if (!(await this.#link(breaking))) {
      const breaker = await this.#ownerOf(breaking);
      const dead = breaker !== undefined && !(await this.#isAlive(breaker, breaking));
      if (dead) await this.#fs.rm(breaking, { force: true });
      return;
    }
    try {
      if ((await this.#ownerOf(this.#path)) === owner) await this.#fs.rm(this.#path, { force: true });
    } finally {
      await this.#fs.rm(breaking, { force: true });
    }
  }

  /** @returns false if the name exists already */
  async #link(path: string): Promise<boolean> {
    try {
      await this.#fs.symlink(this.#self, path);
      return true;
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      throw error;
    }
  }

  #ownerOf(path: string): Promise<string | undefined> {
    return unlessMissing(this.#fs.readlink(path));
  }

  async #isAlive(owner: string, path: string): Promise<boolean> {
    const [pid = '', startTime, boot, namespace] = owner.split(' ');
    const [, , ownBoot, ownNamespace] = this.#self.split(' ');
    if (boot !== undefined && boot !== ownBoot) return false;
    if (namespace !== undefined && namespace !== ownNamespace) {
      const link = await unlessMissing(this.#fs.lstat(path));
      return link !== undefined && this.#clock.wall() - link.mtimeMs < UNSEEN_OWNER_MS;
    }
    if (!isRunning(Number(pid))) return false;
    const running = startTimeOf(pid);
    return startTime === undefined || running === undefined || startTime === running;
  }
}

function describeProcess(): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  return [process.pid, startTimeOf('self'), boot, readlinkSync('/proc/self/ns/pid')].join(' ');
}

/** Start time of a process in clock ticks since boot; `undefined` if it cannot be read. */
function startTimeOf(pid: string): string | undefined {
  try {
    // proc_pid_stat(5): field 22. Field 2 is a name in parentheses that may contain anything.
    return readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')[19];
  } catch {
    return undefined;
  }
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

/** The outcome of an operation on a file, or `undefined` if there is no such file. */
export async function unlessMissing<T>(operation: Promise<T>): Promise<T | undefined> {
  try {
    return await operation;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;
