import { randomBytes } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import * as nodeFs from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Writes a file with mode 0600, in the place of an older one. It is whole, or not there: half of it would mislead. */
export function writeWhole(file: string, text: string): void {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    writeFileSync(temporary, text, { mode: 0o600, flag: 'wx' });
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
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
