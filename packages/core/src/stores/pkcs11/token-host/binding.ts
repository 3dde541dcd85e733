import { createRequire } from 'node:module';
import { KmsError } from '../../../errors.ts';

/**
 * Looks for the native binding, an optional dependency that is compiled when it is installed.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` with what to do
 */
export function checkBinding(): void {
  try {
    createRequire(import.meta.url).resolve('pkcs11js/build/Release/pkcs11.node');
  } catch (error) {
    const message =
      'pkcs11: keys need the native package pkcs11js, which is not installed or not compiled here; ' +
      'install g++, make and python3, then run: npm install pkcs11js';
    throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', message, { cause: error });
  }
}
