import { fullRun } from '@teapot-kms/testing';
import { cacheDirectory, isExecutable, onPath } from '@teapot-kms/testing/daemons';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** The newest Kubernetes that the scenarios are known to pass on. */
export const DEFAULT_KUBERNETES = '1.37.2';
/** The oldest one that the plugin supports. */
export const OLDEST_KUBERNETES = '1.28.15';
/** What a full run covers. */
export const ALL_KUBERNETES = [DEFAULT_KUBERNETES, '1.34.4', OLDEST_KUBERNETES];

/** The versions to run on: `TEAPOT_TEST_KUBERNETES` (with commas between), else the newest, in a full run all. */
export function kubernetesVersions(): readonly string[] {
  const asked = process.env['TEAPOT_TEST_KUBERNETES'];
  if (asked !== undefined && asked !== '') return asked.split(',');
  return fullRun ? ALL_KUBERNETES : [DEFAULT_KUBERNETES];
}

export interface Binaries {
  readonly kubeApiserver: string;
  readonly etcd: string;
  readonly etcdctl: string;
}

/** What is missing to run on this version, and how to get it; tests print it as a `SKIPPED` line. */
export class MissingBinary extends Error {
  override readonly name = 'MissingBinary';
}

/**
 * Looks in `KUBEBUILDER_ASSETS` (as setup-envtest fills it), then in our cache, for etcd on the PATH too. Builds nothing.
 *
 * @throws {@link MissingBinary}
 */
export function findBinaries(kubernetes: string): Binaries {
  const howTo = `bash e2e/setup.sh ${kubernetes}`;
  const kubeApiserver = [assetsOfVersion(kubernetes), cachedKubeApiserver(kubernetes)].find(isExecutable);
  if (kubeApiserver === undefined) throw new MissingBinary(`no kube-apiserver ${kubernetes} here: ${howTo}`);
  return { kubeApiserver, ...findEtcd(howTo) };
}

/** @throws {@link MissingBinary} */
export function findEtcd(howTo = 'bash e2e/setup.sh'): Pick<Binaries, 'etcd' | 'etcdctl'> {
  return { etcd: etcdProgram('etcd', howTo), etcdctl: etcdProgram('etcdctl', howTo) };
}

function etcdProgram(name: string, howTo: string): string {
  const found = [asset(name), join(cacheDirectory, 'etcd', name), ...onPath(name)].find(isExecutable);
  if (found === undefined) throw new MissingBinary(`no ${name} here: ${howTo}`);
  return found;
}

export function cachedKubeApiserver(kubernetes: string): string {
  return join(cacheDirectory, 'kube-apiserver', `v${kubernetes}`, 'kube-apiserver');
}

function asset(program: string): string | undefined {
  const assets = process.env['KUBEBUILDER_ASSETS'];
  return assets === undefined || assets === '' ? undefined : join(assets, program);
}

/** The asset, if it is the version that was asked for. */
function assetsOfVersion(kubernetes: string): string | undefined {
  const path = asset('kube-apiserver');
  if (!isExecutable(path)) return undefined;
  const version = execFileSync(path, ['--version'], { encoding: 'utf8' }).trim();
  return version === `Kubernetes v${kubernetes}` ? path : undefined;
}

/** Registers tests, or prints a `SKIPPED` line that says which program is missing. @param what - the tests */
export function registerUnlessMissing(what: string, register: () => void): void {
  try {
    register();
  } catch (error) {
    if (!(error instanceof MissingBinary)) throw error;
    console.log(`SKIPPED ${what}: ${error.message}`);
  }
}
