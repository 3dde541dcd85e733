import { createHash, randomBytes } from 'node:crypto';
import type * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { KEY_BYTES } from '../envelope/limits.ts';
import { KmsError } from '../errors.ts';
import type { KeysetAdmin } from '../keyset/keyset-source.ts';
import { blobName, formatManifest, MANIFEST_NAME, parseManifest } from '../keyset/manifest.ts';
import type { Manifest } from '../keyset/manifest.ts';

const LOCK_NAME = '.lock';

/**
 * Writes a keyset directory so that a crash at any point leaves the old or the new keyset: each file goes to a
 * temporary name, is synced, renamed, and its directory synced; blobs first, the manifest last (design D11).
 */
export class KeysetDirectoryAdmin implements KeysetAdmin {
  readonly #directory: string;
  readonly #fs: typeof nodeFs;

  constructor(directory: string, fs: typeof nodeFs) {
    this.#directory = directory;
    this.#fs = fs;
  }

  async readManifest(): Promise<{ manifest: Manifest; revision: string } | undefined> {
    const path = join(this.#directory, MANIFEST_NAME);
    const text = await this.#readIfThere(path);
    if (text === undefined) return undefined;
    return { manifest: parseManifest(text, path), revision: revisionOf(text) };
  }

  async createKey(keyId: string): Promise<void> {
    await this.#fs.mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const key = randomBytes(KEY_BYTES);
    try {
      await this.#writeDurably(blobName(keyId), key, 0o600);
    } finally {
      key.fill(0);
    }
  }

  async writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    await this.#locked(async () => {
      const text = await this.#readIfThere(join(this.#directory, MANIFEST_NAME));
      if ((text === undefined ? undefined : revisionOf(text)) !== revision) {
        throw new KmsError(
          'ERR_KMS_KEYSET_CONFLICT',
          'somebody else changed the keyset meanwhile; look at it and try again',
        );
      }
      await this.#writeDurably(MANIFEST_NAME, Buffer.from(formatManifest(manifest)), 0o644);
    });
  }

  async destroyKey(keyId: string): Promise<void> {
    await this.#fs.rm(join(this.#directory, blobName(keyId)), { force: true });
    await this.#syncDirectory();
  }

  async #writeDurably(name: string, bytes: Buffer, mode: number): Promise<void> {
    const temporary = join(this.#directory, `.${name}.${randomBytes(6).toString('hex')}.tmp`);
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
    await this.#fs.rename(temporary, join(this.#directory, name));
    await this.#syncDirectory();
  }

  async #syncDirectory(): Promise<void> {
    const directory = await this.#fs.open(this.#directory, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  /** One writer at a time on this host. A lock whose owner is dead is taken over. */
  async #locked<T>(work: () => Promise<T>): Promise<T> {
    const path = join(this.#directory, LOCK_NAME);
    await this.#takeLock(path);
    try {
      return await work();
    } finally {
      await this.#fs.rm(path, { force: true });
    }
  }

  async #takeLock(path: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#fs.writeFile(path, String(process.pid), { flag: 'wx', mode: 0o600 });
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        const owner = Number((await this.#readIfThere(path)) ?? '0');
        if (attempt > 1 || isAlive(owner)) {
          const message = `process ${owner} is changing this keyset; if that is not so, remove ${path}`;
          throw new KmsError('ERR_KMS_KEYSET_CONFLICT', message);
        }
        await this.#fs.rm(path, { force: true });
      }
    }
  }

  async #readIfThere(path: string): Promise<string | undefined> {
    try {
      return await this.#fs.readFile(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }
}

const revisionOf = (text: string): string => createHash('sha256').update(text).digest('hex');

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
