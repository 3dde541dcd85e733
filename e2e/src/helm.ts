import { cacheDirectory, findGo } from '@teapot-kms/testing/daemons';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';

const SOURCE = join(import.meta.dirname, '../helm');
const PROGRAMS = {
  helm: { module: 'helm.sh/helm/v3', main: 'helm.sh/helm/v3/cmd/helm' },
  kustomize: { module: 'sigs.k8s.io/kustomize/kustomize/v5', main: 'sigs.k8s.io/kustomize/kustomize/v5' },
} as const;

/**
 * Builds a program from the Go module proxy into the cache, once, with the committed versions and hashes: 2 minutes for helm.
 * @returns the binary
 */
export function goProgram(name: keyof typeof PROGRAMS): string {
  const { module, main } = PROGRAMS[name];
  const goMod = readFileSync(join(SOURCE, 'go.mod'), 'utf8');
  const [, version = ''] = new RegExp(`^\\s+${module} v(\\S+)`, 'm').exec(goMod) ?? [];
  const binary = join(cacheDirectory, `${name}-${version}`, name);
  if (existsSync(binary)) return binary;
  const go = findGo(/^go (\S+)$/m.exec(goMod)![1]!);
  mkdirSync(dirname(binary), { recursive: true });
  // A name of its own, renamed at the end: an interrupted build leaves nothing that looks like a binary.
  const unfinished = `${binary}.${process.pid}`;
  console.log(`building ${name} ${version}: 2 minutes on 2 cores`);
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly', GOTOOLCHAIN: 'local', GOWORK: 'off' };
  const args = ['build', '-trimpath', '-ldflags', '-s -w', '-o', unfinished, main];
  execFileSync(go, args, { cwd: SOURCE, env, stdio: 'inherit' });
  renameSync(unfinished, binary);
  return binary;
}
