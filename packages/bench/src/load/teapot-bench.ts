import { cacheDirectory, findGo } from '@teapot-kms/test-parts';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

const SOURCES = join(import.meta.dirname, '../../peers');

let found: string | Error | undefined;

/** Why there are neither peers nor load here, and how to get them; `undefined` where there are. */
export function missingTeapotBench(): string | undefined {
  try {
    teapotBench();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * The program of packages/bench/peers: servers to compare with, and the client that loads them. Built when its sources have
 * changed, into the cache.
 *
 * @throws Error where there is no Go
 */
export function teapotBench(): string {
  try {
    found ??= build();
  } catch (error) {
    found = error as Error;
  }
  if (found instanceof Error) throw found;
  return found;
}

function build(): string {
  const sources = globSync('{*.go,go.mod,go.sum}', { cwd: SOURCES }).sort();
  const hash = createHash('sha256');
  for (const name of sources) hash.update(name).update(readFileSync(join(SOURCES, name)));
  const binary = join(cacheDirectory, 'teapot-bench', hash.digest('hex').slice(0, 16), 'teapot-bench');
  if (existsSync(binary)) return binary;
  const go = findGo(/^go (\S+)$/m.exec(readFileSync(join(SOURCES, 'go.mod'), 'utf8'))![1]!);
  console.log(`building packages/bench/peers with ${go}: a minute the first time`);
  mkdirSync(dirname(binary), { recursive: true });
  // A name of its own, renamed at the end: an interrupted build leaves nothing that looks like a binary.
  const unfinished = `${binary}.${process.pid}`;
  const env = { ...process.env, GOFLAGS: '-mod=readonly', GOTOOLCHAIN: 'local', GOWORK: 'off' };
  try {
    execFileSync(go, ['build', '-trimpath', '-o', unfinished, '.'], { cwd: SOURCES, env, stdio: 'inherit' });
    renameSync(unfinished, binary);
  } finally {
    rmSync(unfinished, { force: true });
  }
  return binary;
}
