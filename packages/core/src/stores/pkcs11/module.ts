import { readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { unavailable } from '../../errors.ts';
import { distrustOf } from '../../util/trusted-path.ts';
import type { ModuleReference } from './uri.ts';

/**
 * Looks for the native binding, an optional dependency that is compiled when it is installed.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
 */
export function checkBinding(): void {
  try {
    createRequire(import.meta.url).resolve('pkcs11js/build/Release/pkcs11.node');
  } catch (error) {
    throw unavailable('pkcs11: keys need the native package pkcs11js, which is not installed or not compiled here', {
      cause: error,
      remedy: 'install g++, make and python3, then run: npm install pkcs11js',
    });
  }
}

/** Where distributions put PKCS#11 modules, in the order of the search. */
const DIRECTORIES = ['usr/lib/*/pkcs11', 'usr/lib/pkcs11', 'usr/lib64/pkcs11', 'usr/lib/softhsm', 'usr/lib/*'];

/** Debian's name for the directory of this machine's libraries, which may have those of other machines beside it. */
const OWN_LIBRARIES: Partial<Record<NodeJS.Architecture, string>> = {
  x64: 'x86_64-linux-gnu',
  arm64: 'aarch64-linux-gnu',
};

/**
 * Finds the file of a PKCS#11 module. A name is that of RFC 7512, without `lib` and `.so`: `softhsm2`, `tpm2_pkcs11`,
 * `opensc-pkcs11`. Unlike there, upper and lower case differ, as they do in file names.
 *
 * @param root - where the directories are, for tests
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` where there is no such file, since it may still be installed; or somebody else
 * could replace it
 */
export function findModule(module: ModuleReference, root = '/'): string {
  const path = pathOf(module, root);
  const distrust = distrustOf(path);
  if (distrust) throw unavailable(`PKCS#11 module: ${distrust.text}`, { remedy: distrust.remedy });
  return path;
}

function pathOf(module: ModuleReference, root: string): string {
  if ('path' in module) {
    if (isFile(module.path)) return module.path;
    throw unavailable(`no PKCS#11 module at ${JSON.stringify(module.path)}`, {
      remedy: 'install the module, or correct module-path',
    });
  }
  const names = [`${module.name}.so`, `lib${module.name}.so`];
  for (const directory of DIRECTORIES.flatMap((pattern) => expand(root, pattern))) {
    for (const name of names) if (isFile(join(directory, name))) return join(directory, name);
  }
  const places = DIRECTORIES.map((pattern) => join(root, pattern)).join(', ');
  throw unavailable(`no ${names.join(' or ')} in ${places}`, {
    remedy: 'install the module, or give its file as module-path',
  });
}

function expand(root: string, pattern: string): string[] {
  const [before = '', after] = pattern.split('*');
  const base = join(root, before);
  if (after === undefined) return [base];
  const own = OWN_LIBRARIES[process.arch] ?? '';
  const names = unlessItFails(() => readdirSync(base).sort(), []);
  return [own, ...names].map((name) => join(base, name, after));
}

const isFile = (path: string): boolean => unlessItFails(() => statSync(path).isFile(), false);

function unlessItFails<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch {
    return otherwise;
  }
}
