import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a directory, and those above it, with mode 0700. Unlike `mkdirSync` with `recursive`, it ends where no directory can be made although
 * the one above it is there, as in /proc, or where the root directory itself is gone. There Node tries without end.
 * @returns the first directory that was made, or `undefined` if all were there
 * @throws the error of mkdir(2)
 */
export function makeDirectory(path: string): string | undefined {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return undefined;
  const parent = dirname(path);
  const first = parent === path ? undefined : makeDirectory(parent);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // Another process may have been faster.
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
    return first;
  }
  return first ?? path;
}
