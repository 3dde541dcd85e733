import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { shellWord } from './shell-word.ts';

/**
 * What makes a directory one that a process can write into.
 * @param code - of the error that writing into it, or making it, threw
 * @param uid - of the user that shall write
 */
export function writableRemedy(directory: string, code: string | undefined, uid = process.getuid?.() ?? 0): string {
  if (code === 'EROFS') return `mount -o remount,rw "$(stat -c %m ${shellWord(existingPart(directory))})"`;
  if (code === 'ENOTDIR' || code === 'EEXIST') {
    return `move aside the file that is in the place of a directory: ${existingPart(directory)}`;
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') return `make room in the file system of ${directory}`;
  return `install -d -m 0700 -o ${uid} ${shellWord(directory)}`;
}

const existingPart = (path: string): string =>
  existsSync(path) || path === dirname(path) ? path : existingPart(dirname(path));
