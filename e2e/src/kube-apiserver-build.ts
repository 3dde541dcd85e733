import { findGo } from '@teapot-kms/testing/daemons';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cachedKubeApiserver } from './binaries.ts';

const SOURCE = join(import.meta.dirname, '../kube-apiserver');
const PROGRESS_MS = 30_000;

/** The versions that there is a modfile for. */
export function hasModfile(kubernetes: string): boolean {
  return existsSync(join(SOURCE, `v${kubernetes}.mod`));
}

/**
 * Builds kube-apiserver from the Go module proxy into the cache, with the versions and hashes of the committed modfile.
 *
 * @returns the binary
 */
export async function buildKubeApiserver(kubernetes: string): Promise<string> {
  const modfile = join(SOURCE, `v${kubernetes}.mod`);
  const goLine = /^go (\S+)$/m.exec(readFileSync(modfile, 'utf8'))?.[1];
  if (goLine === undefined) throw new Error(`${modfile} has no "go" line`);
  const go = findGo(goLine);
  const binary = cachedKubeApiserver(kubernetes);
  mkdirSync(dirname(binary), { recursive: true });
  // A name of its own, renamed at the end: an interrupted build leaves nothing that looks like a binary.
  const unfinished = `${binary}.${process.pid}`;
  const version = `k8s.io/component-base/version.gitVersion=v${kubernetes}`;
  const args = ['build', `-modfile=${modfile}`, '-trimpath', '-ldflags', `-s -w -X ${version}`, '-o', unfinished, '.'];
  console.log(`building kube-apiserver ${kubernetes} with ${go}: usually 4 to 6 minutes on 2 cores, 2.5 GB of memory`);
  try {
    await run(go, args);
    renameSync(unfinished, binary);
  } finally {
    rmSync(unfinished, { force: true });
  }
  return binary;
}

function run(go: string, args: readonly string[]): Promise<void> {
  const started = Date.now();
  const progress = setInterval(() => {
    console.log(`  still building, ${Math.round((Date.now() - started) / 1000)} s so far`);
  }, PROGRESS_MS);
  // readonly: the committed .mod and .sum are what is built, or nothing is.
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly', GOTOOLCHAIN: 'local', GOWORK: 'off' };
  const child = spawn(go, args, { cwd: SOURCE, env, stdio: ['ignore', 'inherit', 'inherit'] });
  return new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`go ${args.join(' ')} failed in ${SOURCE} (exit code ${String(code)})`));
    });
  }).finally(() => clearInterval(progress));
}
