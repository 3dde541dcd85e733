import { randomBytes } from 'node:crypto';
import type * as nodeFs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { unlessMissing } from './file-lock.ts';

/**
 * A directory whose files survive a crash at any point in their old or their new state. Each file is written under a temporary name, synced
 * and renamed, then the directory is synced. Errors of the file system are passed on.
 */
export class DurableDirectory {
  readonly #path: string;
  readonly #fs: typeof nodeFs;

  /** @param fs - the file system. Tests kill the writer between two steps */
  constructor(path: string, fs: typeof nodeFs) {
    this.#path = path;
    this.#fs = fs;
  }

  /** Creates the directory with mode 0700 if it is missing. Its parents are synced, so that it still exists after a crash. */
  async make(): Promise<void> {
    const first = await this.#fs.mkdir(this.#path, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    let made = this.#path;
    for (; made.length > first.length; made = dirname(made)) await this.#sync(dirname(made));
    await this.#sync(dirname(made));
  }

  /** The text of a file, or `undefined` if there is none. */
  read(name: string): Promise<string | undefined> {
    return unlessMissing(this.#fs.readFile(join(this.#path, name), 'utf8'));
  }

  async write(name: string, bytes: Buffer, mode: number): Promise<void> {
    const temporary = join(this.#path, `.${name}.${randomBytes(6).toString('hex')}.tmp`);
    const file = await this.#fs.open(temporary, 'wx', mode);
    try {
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

  /** Succeeds if the file is already gone. */
  async remove(name: string): Promise<void> {
    await this.#fs.rm(join(this.#path, name), { force: true });
    await this.#sync(this.#path);
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
