import { createRequire } from 'node:module';
import { unavailable } from '../../../errors.ts';

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
