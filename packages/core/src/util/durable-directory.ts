import { randomBytes } from 'node:crypto';
import type * as nodeFs from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * A directory whose files a crash at any point leaves as they were or as they should be: each goes to a temporary name, is
 * synced, renamed, and its directory synced. Throws what the file system throws.
 */
export class DurableDirectory {
  readonly #path: string;
  readonly #fs: typeof nodeFs;

  /** @param fs - the file system, for tests that kill the writer between two steps */
  constructor(path: string, fs: typeof nodeFs) {
    this.#path = path;
    this.#fs = fs;
  }

  /** Makes it, for its owner only, where it is missing. It is only there after a crash when the one that it stands in was synced. */
  async make(): Promise<void> {
    const first = await this.#fs.mkdir(this.#path, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    let made = this.#path;
    for (; made.length > first.length; made = dirname(made)) await this.#sync(dirname(made));
    await this.#sync(dirname(made));
  }

  /** The text of a file, or `undefined` where there is none. */
  async read(name: string): Promise<string | undefined> {
    try {
      return await this.#fs.readFile(join(this.#path, name), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
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

  /** Succeeds where it is gone already. */
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
