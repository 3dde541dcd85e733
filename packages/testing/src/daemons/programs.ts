import { accessSync, constants, existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/** What is built or fetched once for all checkouts: it outlives any of them. */
export const cacheDirectory = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'teapot-kms');

/** Where a program would be. */
export function onPath(program: string): string[] {
  return (process.env['PATH'] ?? '').split(delimiter).map((directory) => join(directory, program));
}

export function isExecutable(path: string | undefined): path is string {
  if (path === undefined || !existsSync(path)) return false;
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
