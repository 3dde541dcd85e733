import { cacheDirectory, findGo } from '@teapot-kms/testing/daemons';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export interface GoProgram {
  /** Its directory in the cache. */
  readonly name: string;
  readonly sources: string;
  /** All files that it is built from; another version of one is another program. */
  readonly files: readonly string[];
  /** Arguments of `go build`. */
  readonly args: readonly string[];
}

/** Builds a program in Go where the cache does not have it. Returns its path. */
export function goProgram({ name, sources, files, args }: GoProgram): string {
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(join(sources, file)));
  const directory = join(cacheDirectory, `${name}-${hash.digest('hex').slice(0, 16)}`);
  const binary = join(directory, 'program');
  if (existsSync(binary)) return binary;
  mkdirSync(directory, { recursive: true });
  const unfinished = `${binary}.${process.pid}`;
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly', GOTOOLCHAIN: 'local', GOWORK: 'off' };
  try {
    execFileSync(findGo('1.26.0'), ['build', '-trimpath', '-o', unfinished, ...args], {
      cwd: sources,
      env,
      stdio: 'inherit',
    });
    renameSync(unfinished, binary);
  } finally {
    rmSync(unfinished, { force: true });
  }
  return binary;
}
