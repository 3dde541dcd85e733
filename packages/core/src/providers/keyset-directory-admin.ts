import { createHash, randomBytes } from 'node:crypto';
import type * as nodeFs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KEY_BYTES } from '../envelope/limits.ts';
import { KmsError } from '../errors.ts';
import type { KeysetAdmin } from '../keyset/keyset-source.ts';
import { blobName, formatManifest, MANIFEST_NAME, parseManifest } from '../keyset/manifest.ts';
import type { KeyPlace, Manifest } from '../keyset/manifest.ts';

/** A symbolic link whose target is the owner's process id: the one thing that is made with its content in one step. */
const LOCK_NAME = '.lock';

/** Takeovers and releases that are waited out before the keyset counts as busy. */
const LOCK_ATTEMPTS = 5;
const LOCK_WAIT_MS = 10;

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
    const text = await onDisk(() => this.#readIfThere(path));
    if (text === undefined) return undefined;
    return { manifest: parseManifest(text, path), revision: revisionOf(text) };
  }

  createKey(keyId: string): Promise<KeyPlace> {
    return onDisk(async () => {
      await this.makeDirectory();
      const key = randomBytes(KEY_BYTES);
      try {
        await this.#writeDurably(blobName(keyId), key, 0o600);
      } finally {
        key.fill(0);
      }
      return {};
    });
  }

  writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    return onDisk(() =>
      this.#locked(async () => {
        const text = await this.#readIfThere(join(this.#directory, MANIFEST_NAME));
        if ((text === undefined ? undefined : revisionOf(text)) !== revision) {
          throw new KmsError(
            'ERR_KMS_KEYSET_CONFLICT',
            'somebody else changed the keyset meanwhile; look at it and try again',
          );
        }
        await this.#writeDurably(MANIFEST_NAME, Buffer.from(formatManifest(manifest)), 0o644);
      }),
    );
  }

  destroyKey(keyId: string): Promise<void> {
    return onDisk(async () => {
      await this.#fs.rm(join(this.#directory, blobName(keyId)), { force: true });
      await this.#syncDirectory(this.#directory);
    });
  }

  /** A new directory is only there after a crash when the one that it stands in was synced. */
  async makeDirectory(): Promise<void> {
    const first = await this.#fs.mkdir(this.#directory, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    let made = this.#directory;
    for (; made.length > first.length; made = dirname(made)) await this.#syncDirectory(dirname(made));
    await this.#syncDirectory(dirname(made));
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
    await this.#syncDirectory(this.#directory);
  }

  async #syncDirectory(path: string): Promise<void> {
    const directory = await this.#fs.open(path, 'r');
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
        await this.#fs.symlink(String(process.pid), path);
        return;
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
      }
      const owner = await this.#ownerOf(path);
      if (attempt === LOCK_ATTEMPTS || (owner !== undefined && isAlive(Number(owner)))) {
        const message = `process ${owner ?? ''} is changing this keyset; if that is not so, remove ${path}*`;
        throw new KmsError('ERR_KMS_KEYSET_CONFLICT', message);
      }
      if (owner !== undefined) await this.#removeStaleLock(path, owner);
      await sleep(LOCK_WAIT_MS);
    }
  }

  /**
   * Removes a dead owner's lock. Only one may do that at a time, and looks again first: else the second of two could remove
   * the lock that the first has taken meanwhile. Who dies while doing it is seen the same way. What is left of the race is
   * caught by the manifest's revision.
   */
  async #removeStaleLock(path: string, owner: string): Promise<void> {
    const breaking = `${path}.breaking`;
    try {
      await this.#fs.symlink(String(process.pid), breaking);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      const breaker = await this.#ownerOf(breaking);
      if (breaker !== undefined && !isAlive(Number(breaker))) await this.#fs.rm(breaking, { force: true });
      return;
    }
    try {
      if ((await this.#ownerOf(path)) === owner) await this.#fs.rm(path, { force: true });
    } finally {
      await this.#fs.rm(breaking, { force: true });
    }
  }

  #ownerOf(lock: string): Promise<string | undefined> {
    return unless('ENOENT', this.#fs.readlink(lock));
  }

  #readIfThere(path: string): Promise<string | undefined> {
    return unless('ENOENT', this.#fs.readFile(path, 'utf8'));
  }
}

/** The result, or `undefined` where the operation fails with `code`. */
async function unless<T>(code: string, operation: Promise<T>): Promise<T | undefined> {
  try {
    return await operation;
  } catch (error) {
    if (codeOf(error) === code) return undefined;
    throw error;
  }
}

async function onDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', (error as Error).message);
  }
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

const revisionOf = (text: string): string => createHash('sha256').update(text).digest('hex');

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}
