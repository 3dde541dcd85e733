import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { unavailable } from '../../errors.ts';
import type { ModuleReference } from './uri.ts';

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
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` where there is no such file, since it may still be installed
 */
export function findModule(module: ModuleReference, root = '/'): string {
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
  const own = OWN_LIBRARIES[process.arch];
  const rank = (name: string) => (name === own ? 0 : 1);
  return namesIn(base)
    .toSorted((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
    .map((name) => join(base, name, after));
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
