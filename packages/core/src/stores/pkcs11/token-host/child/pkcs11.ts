import { createRequire } from 'node:module';
import type * as pkcs11js from 'pkcs11js';

export type Pkcs11 = pkcs11js.PKCS11;
export type Handle = Buffer;
export type Template = pkcs11js.Template;

/** The native binding, loaded when it is needed: it is optional, and only the token host has any use for it. */
export const pkcs11: typeof pkcs11js = createRequire(import.meta.url)('pkcs11js') as typeof pkcs11js;

/**
 * Loads a module into this thread. All threads of a process share the one that was loaded first, and its state.
 * The first call, from the main thread, initialises it.
 */
export function loadModule(path: string): Pkcs11 {
  const module = new pkcs11.PKCS11();
  module.load(path);
  try {
    module.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK });
  } catch (error) {
    if (nameOf(error) !== 'CKR_CRYPTOKI_ALREADY_INITIALIZED') throw error;
  }
  return module;
}

/** The return value's name, such as `CKR_DEVICE_ERROR`; `undefined` for what is no error of the module's. */
export function nameOf(error: unknown): string | undefined {
  if (!(error instanceof pkcs11.Pkcs11Error)) return undefined;
  // A vendor's own value has no name.
  return error.message.startsWith('CKR_') ? error.message : `CKR 0x${error.code.toString(16)}`;
}

/** What the token said, and to which call: `CKR_DEVICE_ERROR in C_Decrypt`. */
export function describe(error: unknown): string {
  const name = nameOf(error);
  if (name === undefined) return (error as Error).message;
  const { method } = error as pkcs11js.Pkcs11Error;
  return method ? `${name} in ${method}` : name;
}
