import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a directory, and those above it. Unlike `mkdirSync` with `recursive`, it ends where no directory can be made although
 * the one above it is there, as in /proc, or where the root directory itself is gone. There Node tries without end.
 * @param mode - of what is made, whatever the umask of this process is
 * @returns the first directory that was made, or `undefined` if all were there
 * @throws the error of mkdir(2) or chmod(2)
 */
export function makeDirectory(path: string, mode = 0o700): string | undefined {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return undefined;
  const parent = dirname(path);
  const first = parent === path ? undefined : makeDirectory(parent, mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    // Another process may have been faster.
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
    return first;
  }
  if (mode !== 0o700) chmodSync(path, mode);
  return first ?? path;
}
