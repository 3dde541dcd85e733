import { KmsError } from '@teapot-kms/core';
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, lstatSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Writes a file with mode 0600, in the place of an older one. It is whole, or not there: half of it would mislead. When this returns, it is on
 * the disk.
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST` for a link or device: the file would take its place. The errors of the file system
 */
export function writeWhole(file: string, text: string): void {
  if (lstatSync(file, { throwIfNoEntry: false })?.isFile() === false) {
    throw new KmsError('ERR_KMS_INVALID_REQUEST', `${file}: expected a regular file, or none; found something else`, {
      remedy: 'name a new file, or a regular one that it replaces',
    });
  }
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    writeFileSync(temporary, text, { mode: 0o600, flag: 'wx', flush: true });
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  sync(dirname(file));
}

function sync(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
