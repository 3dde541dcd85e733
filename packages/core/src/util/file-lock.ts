import { readFileSync, readlinkSync } from 'node:fs';
import type * as nodeFs from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KmsError } from '../errors.ts';

/** Takeovers and releases that are waited out before the lock counts as busy. */
const TAKEOVER_ROUNDS = 5;
const TAKEOVER_WAIT_MS = 10;

/** Between two looks at the lock of a living owner. */
const OWNER_WAIT_MS = 50;

/** How old a lock must be to count as left behind, where its owner is in another container and cannot be seen from here. */
const UNSEEN_OWNER_MS = 120_000;

export interface FileLockOptions {
  readonly fs: typeof nodeFs;
  /** How long a living owner is waited for, in milliseconds. */
  readonly waitMs: number;
  /** The error for a lock that is not to be had. `pid` is empty where the owner changes too fast to be seen. */
  readonly busy: (pid: string) => KmsError;
}

/**
 * Runs `work` while holding the lock at `path`: one holder at a time on this host, in this process and others. A lock whose
 * owner is dead is taken over.
 *
 * The lock is a symbolic link, the one thing that is made with its content in one step. Its target says who owns it: process id,
 * when the process started, the host's boot, and the PID namespace, since in containers many processes have the id 1, and ids come again.
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
  readonly #self = describeProcess();

  constructor(path: string, options: FileLockOptions) {
    this.#path = path;
    this.#options = options;
    this.#fs = options.fs;
  }

  async take(): Promise<void> {
    const started = performance.now();
    for (let rounds = 1; ; rounds++) {
      if (await this.#link(this.#path)) return;
      const owner = await this.#ownerOf(this.#path);
      const alive = owner !== undefined && (await this.#isAlive(owner, this.#path));
      if (alive) rounds = 0;
      if (alive ? performance.now() - started >= this.#options.waitMs : rounds === TAKEOVER_ROUNDS) {
        throw this.#options.busy(owner?.split(' ')[0] ?? '');
      }
      if (!alive && owner !== undefined) await this.#removeStale(owner);
      await sleep(alive ? OWNER_WAIT_MS : TAKEOVER_WAIT_MS);
    }
  }

  /** Not where it was taken over meanwhile: then it is another's. */
  async release(): Promise<void> {
    if ((await this.#ownerOf(this.#path)) === this.#self) await this.#fs.rm(this.#path, { force: true });
  }

  /**
   * Removes a dead owner's lock. Only one may do that at a time, and looks again first: else the second of two could remove
   * the lock that the first has taken meanwhile. Who dies while doing it is seen the same way. What little is left of the race must
   * be harmless to what the lock protects.
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

  /** Returns false where there is such a name already. */
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
      return link !== undefined && Date.now() - link.mtimeMs < UNSEEN_OWNER_MS;
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

/** In clock ticks since the host's boot; `undefined` where we may not see it. */
function startTimeOf(pid: string): string | undefined {
  try {
    // proc_pid_stat(5): field 22, and field 2 is a name in parentheses that may hold anything.
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

async function unlessMissing<T>(operation: Promise<T>): Promise<T | undefined> {
  try {
    return await operation;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;
