import { createRequire } from 'node:module';
import type * as pkcs11js from 'pkcs11js';

export type Pkcs11 = pkcs11js.PKCS11;
export type Handle = Buffer;
export type Template = pkcs11js.Template;

/** The native binding. It is optional, and only the token host needs it. */
export const pkcs11: typeof pkcs11js = createRequire(import.meta.url)('pkcs11js') as typeof pkcs11js;

export interface LoadedModule {
  readonly module: Pkcs11;
  /** C_Initialize took effect. Where it does so in a second thread, the module has a state for each thread. */
  readonly initialised: boolean;
}

/**
 * Loads a module into this thread. All threads of a process share the library and, with most modules, its state. The main thread
 * loads it first, which initialises it.
 * @param parameters - what C_Initialize gets as LibraryParameters; empty for none
 */
export function loadModule(path: string, parameters: string): LoadedModule {
  const module = new pkcs11.PKCS11();
  module.load(path);
  // The binding cuts off the last character.
  const given = parameters === '' ? {} : { libraryParameters: `${parameters} ` };
  try {
    module.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK, ...given });
    return { module, initialised: true };
  } catch (error) {
    const { code } = error as pkcs11js.Pkcs11Error;
    if (code !== pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) throw error;
    return { module, initialised: false };
  }
}

/** Says what failed and in which call, such as `CKR_DEVICE_ERROR in C_Decrypt`. */
export function describe(error: unknown): string {
  if (!(error instanceof pkcs11.Pkcs11Error)) return (error as Error).message;
  const { message, code, method } = error;
  // A vendor's own code has no name.
  const name = message.startsWith('CKR_') ? message : `CKR 0x${code.toString(16)}`;
  return method ? `${name} in ${method}` : name;
}
