import { cacheDirectory, findGo, isExecutable, onPath } from '@teapot-kms/testing/daemons';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

const SOURCES = join(import.meta.dirname, '../../peers');

/** Returns why the peers and the load client cannot be built and how to fix it, or `undefined` if they can. */
export function missingTeapotBench(): string | undefined {
  if (existsSync(binaryOfSources())) return undefined;
  try {
    goToolchain();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * Returns the path of the program in packages/bench/peers: the servers to compare with, and the client that loads them. It is
 * built into the cache when its sources have changed.
 */
export function teapotBench(): string {
  const binary = binaryOfSources();
  if (!existsSync(binary)) build(binary);
  return binary;
}

/** Returns the version of Go that built the program. */
export function goOfTeapotBench(): string {
  return execFileSync(teapotBench(), ['version'], { encoding: 'utf8' }).trim();
}

function binaryOfSources(): string {
  // Without a C compiler the program lacks the PKCS#11 peer.
  const hash = createHash('sha256').update(onPath('gcc').some(isExecutable) ? 'cgo' : '');
  for (const name of globSync('{*.go,go.mod,go.sum}', { cwd: SOURCES }).sort()) {
    hash.update(name).update(readFileSync(join(SOURCES, name)));
  }
  return join(cacheDirectory, 'teapot-bench', hash.digest('hex').slice(0, 16), 'teapot-bench');
}

function goToolchain(): string {
  return findGo(/^go (\S+)$/m.exec(readFileSync(join(SOURCES, 'go.mod'), 'utf8'))![1]!);
}

function build(binary: string): void {
  const go = goToolchain();
  console.log(`building packages/bench/peers with ${go} (about a minute the first time)`);
  mkdirSync(dirname(binary), { recursive: true });
  // The build writes to a temporary name, so that an interrupted build leaves no broken binary.
  const unfinished = `${binary}.${process.pid}`;
  const env = { ...process.env, GOFLAGS: '-mod=readonly', GOTOOLCHAIN: 'local', GOWORK: 'off' };
  try {
    execFileSync(go, ['build', '-trimpath', '-o', unfinished, '.'], { cwd: SOURCES, env, stdio: 'inherit' });
    renameSync(unfinished, binary);
  } finally {
    rmSync(unfinished, { force: true });
  }
}
