import { randomBytes } from 'node:crypto';
import type * as nodeFs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { unlessMissing } from './file-lock.ts';
import { readSmallFile } from './small-file.ts';

/** Most files that are kept of one name. */
const MAX_KEPT = 1_000;

/** Numbers of a user and a group. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * A directory whose files survive a crash at any point in their old or their new state. Each file is written under a temporary name, synced
 * and renamed, then the directory is synced. Errors of the file system are passed on.
 */
export class DurableDirectory {
  /** Whom what is written belongs to. Default: for root the owner of the directory, else this user. */
  owner: Owner | undefined;
  readonly #path: string;
  readonly #fs: typeof nodeFs;

  /** @param fs - the file system. Tests kill the writer between two steps */
  constructor(path: string, fs: typeof nodeFs) {
    this.#path = path;
    this.#fs = fs;
  }

  /**
   * Creates the directory with mode 0700 if it is missing, and its parents. They are synced, so that they still exist after a crash. One level
   * at a time: `recursive` of Node never ends where nothing can be created, such as in /proc.
   */
  async make(): Promise<void> {
    const missing: string[] = [];
    let path = this.#path;
    // Where the root directory itself is gone, mkdir has the error.
    for (; path !== dirname(path) && !(await this.#exists(path)); path = dirname(path)) missing.unshift(path);
    for (const path of missing) {
      const owner = await this.#ownerOf(dirname(path));
      await this.#fs.mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      });
      if (owner) await this.#fs.chown(path, owner.uid, owner.gid);
      await this.#sync(dirname(path));
    }
  }

  /**
   * The text of a file of at most `maxBytes`, or `undefined` if there is none.
   * @throws {@link FileRefused}
   */
  async read(name: string, maxBytes: number): Promise<string | undefined> {
    const bytes = await unlessMissing(readSmallFile(join(this.#path, name), maxBytes, this.#fs));
    return bytes?.toString('utf8');
  }

  /** The names in it, hidden ones too. */
  names(): Promise<string[]> {
    return this.#fs.readdir(this.#path);
  }

  async write(name: string, bytes: Buffer, mode: number): Promise<void> {
    const temporary = join(this.#path, `.${name}.${randomBytes(6).toString('hex')}.tmp`);
    const file = await this.#fs.open(temporary, 'wx', mode);
    try {
      const owner = await this.#ownerOf(this.#path);
      if (owner) await file.chown(owner.uid, owner.gid);
      await file.writeFile(bytes);
      await file.sync();
    } catch (error) {
      await this.#fs.rm(temporary, { force: true });
      throw error;
    } finally {
      await file.close();
    }
    await this.#fs.rename(temporary, join(this.#path, name));
    await this.#sync(this.#path);
  }

  /** Gives a file that is about to be replaced a second name that is free, under which it stays. */
  async keep(name: string, suffix: string): Promise<void> {
    for (let count = 1; count <= MAX_KEPT; count++) {
      const kept = `${name}.${suffix}${count === 1 ? '' : `-${count}`}`;
      try {
        await this.#fs.link(join(this.#path, name), join(this.#path, kept));
        return;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'ENOENT') return;
        if (code !== 'EEXIST' || count === MAX_KEPT) throw error;
      }
    }
  }

  /** Succeeds if the file is already gone. */
  async remove(name: string): Promise<void> {
    await this.#fs.rm(join(this.#path, name), { force: true });
    await this.#sync(this.#path);
  }

  async #exists(path: string): Promise<boolean> {
    try {
      await this.#fs.stat(path);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
  }

  /** What root creates belongs to the owner of the directory: the plugin runs as another user. `undefined`: nothing is to be changed. */
  async #ownerOf(path: string): Promise<Owner | undefined> {
    if (this.owner) return this.owner;
    return process.getuid?.() === 0 ? this.#fs.stat(path) : undefined;
  }

  async #sync(path: string): Promise<void> {
    const directory = await this.#fs.open(path, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}
