import { KmsError } from '@teapot-kms/core';
import { randomBytes } from 'node:crypto';
import * as nodeFs from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/**
 * Writes a file with mode 0600, in the place of an older one. It is whole, or not there: half of it would mislead. When this returns, it is on
 * the disk.
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST` for a link or device: the file would take its place. The errors of the file system
 */
export async function writeWhole(file: string, text: string, fs = nodeFs): Promise<void> {
  const found = await fs.lstat(file).catch(() => undefined);
  if (found?.isFile() === false) {
    throw new KmsError('ERR_KMS_INVALID_REQUEST', `${file}: expected a regular file, or none; found something else`, {
      remedy: 'name a new file, or a regular one that it replaces',
    });
  }
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await synced(temporary, 'wx', fs, (handle) => handle.writeFile(text));
    await fs.rename(temporary, file);
  } finally {
    await fs.rm(temporary, { force: true });
  }
  await synced(dirname(file), 'r', fs);
}

/** What link(2) says of a file system without hard links, such as that of a USB stick. */
const NO_LINKS = ['EPERM', 'EOPNOTSUPP', 'ENOSYS'];

/**
 * Writes a new file with mode 0600, which survives a crash as soon as this has returned. It is whole, or not there.
 * @param fs - the file system
 * @throws the error of the file system: `EEXIST` if there is a file
 */
export async function writeNew(path: string, bytes: Uint8Array, fs = nodeFs): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await synced(temporary, 'wx', fs, (file) => file.writeFile(bytes));
    // Unlike rename(2), it replaces nothing.
    await fs.link(temporary, path).catch(async (error: unknown) => {
      if (!NO_LINKS.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      await synced(path, 'wx', fs);
      await fs.rename(temporary, path);
    });
  } finally {
    await fs.rm(temporary, { force: true });
  }
  await synced(directory, 'r', fs);
}

/** Opens a file or a directory, and syncs it after `work`. */
async function synced(
  path: string,
  flags: string,
  fs: typeof nodeFs,
  work?: (file: nodeFs.FileHandle) => Promise<void>,
): Promise<void> {
  const file = await fs.open(path, flags, 0o600);
  try {
    await work?.(file);
    await file.sync();
  } finally {
    await file.close();
  }
}
