import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory } from './programs.ts';

/** What is deployed. */
export const SOURCE = join(import.meta.dirname, '../../../../k8s/barbican');
export const MARIADB = join(cacheDirectory, 'mariadb');

/** Where Keystone's and Barbican's programs are, of the versions that `k8s/barbican` deploys. */
export function venv(): string {
  const lock = readFileSync(join(SOURCE, 'image/requirements.txt'));
  return join(cacheDirectory, `barbican-${createHash('sha256').update(lock).digest('hex').slice(0, 16)}`);
}

/** Why `k8s/barbican` cannot be started here, or `undefined`. */
export function missingDeployment(): string | undefined {
  const needed = [join(venv(), 'complete'), join(MARIADB, 'usr/sbin/mariadbd'), '/usr/bin/softhsm2-util'];
  const missing = needed.find((path) => !existsSync(path));
  return missing === undefined ? undefined : `no ${missing}: bash packages/testing/openstack/setup-deployment.sh`;
}

/** Says so, and ends the test file, where the programs are missing. */
export function skipWithoutDeployment(): void {
  const missing = missingDeployment();
  if (missing === undefined) return;
  console.log(`SKIPPED tests on the Barbican of k8s/barbican: ${missing}`);
  process.exit(0);
}

/** A saved set-up is of these files only. */
export function sourceHash(): string {
  const hash = createHash('sha256');
  for (const directory of ['config', 'tool']) {
    for (const name of readdirSync(join(SOURCE, directory)).sort()) {
      if (/\.(py|conf|cnf|sh)$/.test(name)) hash.update(readFileSync(join(SOURCE, directory, name)));
    }
  }
  return hash.digest('hex').slice(0, 16);
}
