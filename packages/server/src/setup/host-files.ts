import { FileRefused, KmsError, readSmallFile } from '@teapot-kms/core';
import { randomBytes } from 'node:crypto';
import { open, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeDirectory } from '../make-directory.ts';
import type { TextFiles } from './site.ts';

/** Longest file that is read, in bytes. A manifest has 4 KiB, and etcd's largest ConfigMap 1 MiB. */
const MAX_BYTES = 2 * 1024 * 1024;

export interface HostFilesOptions {
  /** The kubelet runs every file in it: nothing is written there but what belongs there. */
  readonly manifestDirectory: string;
  /** On the same file system as the manifests. */
  readonly backupDirectory: string;
  /** Files that others may read: the plugin's user needs its configuration. */
  readonly publicFiles: readonly string[];
}

/**
 * Files of this host. Each is written beside its place under another name, synced, and renamed. Those of the kubelet are written in the directory
 * of the backups first. Errors of the file system are passed on.
 */
export class HostFiles implements TextFiles {
  readonly #options: HostFilesOptions;

  constructor(options: HostFilesOptions) {
    this.#options = options;
  }

  /** @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST` for what is no file, or too long */
  async read(path: string): Promise<string | undefined> {
    try {
      return (await readSmallFile(path, MAX_BYTES)).toString('utf8');
    } catch (error) {
      if (error instanceof FileRefused) throw KmsError.from(error, 'ERR_KMS_INVALID_REQUEST');
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async write(path: string, text: string): Promise<void> {
    const { manifestDirectory, backupDirectory, publicFiles } = this.#options;
    const isPublic = publicFiles.includes(path);
    makeDirectory(dirname(path), isPublic ? 0o755 : 0o700);
    // A link stays one.
    const real = await realpath(path).catch(() => path);
    const place = dirname(path) === manifestDirectory ? backupDirectory : dirname(real);
    makeDirectory(place);
    const before = await stat(real).catch(() => undefined);
    const temporary = join(place, `.${basename(real)}.${randomBytes(6).toString('hex')}.tmp`);
    const file = await open(temporary, 'wx', 0o600);
    try {
      if (before && process.geteuid?.() === 0) await file.chown(before.uid, before.gid);
      await file.writeFile(text);
      await file.chmod(before ? before.mode & 0o7777 : isPublic ? 0o644 : 0o600);
      await file.sync();
      await rename(temporary, real);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    } finally {
      await file.close();
    }
    await sync(dirname(real));
  }

  /** Removes what a killed process has left of {@link HostFiles.write}: such a file may hold keys of other providers. Nobody else may write. */
  async sweep(paths: readonly string[]): Promise<void> {
    const { backupDirectory } = this.#options;
    const wanted = [{ directory: backupDirectory, name: undefined }, ...(await Promise.all(paths.map(placeOf)))];
    for (const { directory, name } of wanted) {
      const found = await readdir(directory).catch(() => []);
      for (const file of found) {
        const written = TEMPORARY.exec(file)?.[1];
        if (written !== undefined && written === (name ?? written)) await rm(join(directory, file), { force: true });
      }
    }
  }

  async remove(path: string): Promise<void> {
    await rm(path, { force: true });
    await sync(dirname(path)).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    });
  }
}

const TEMPORARY = /^\.(.+)\.[0-9a-f]{12}\.tmp$/;

async function placeOf(path: string) {
  const real = await realpath(path).catch(() => path);
  return { directory: dirname(real), name: basename(real) };
}

async function sync(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
