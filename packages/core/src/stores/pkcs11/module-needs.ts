import { basename } from 'node:path';
import type { ModuleReference } from './uri.ts';

/** What modules need beside their file, and report by a general code or by no token where it is missing. */
const NEEDS: readonly (readonly [module: RegExp, remedy: string])[] = [
  [/opencryptoki/, 'start pkcsslotd, and put the user of the plugin into the group pkcs11'],
  [/opensc-pkcs11|onepin-opensc/, 'start pcscd, and connect the reader with its card'],
  [/p11-kit-client/, 'start "p11-kit server", and check P11_KIT_SERVER_ADDRESS in the environment of the plugin'],
  [/softhsm2/, 'check SOFTHSM2_CONF in the environment of the plugin, and that its user can read what that names'],
  [/softokn3/, 'set libraryParameters, with the configdir of the database and flags='],
  [
    /tpm2_pkcs11/,
    'check TPM2_PKCS11_STORE and TPM2_PKCS11_TCTI in the environment of the plugin, that tpm2-abrmd runs if that names it, and that the user of the plugin is in the group tss',
  ],
];

/** Returns what to look at when this module or its token does not work; `undefined` for a module that is not known. */
export function moduleNeeds(module: ModuleReference): string | undefined {
  const name = 'path' in module ? basename(module.path) : module.name;
  return NEEDS.find(([pattern]) => pattern.test(name))?.[1];
}
