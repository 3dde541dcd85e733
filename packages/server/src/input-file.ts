import { FileRefused, KmsError, readSmallFileSync } from '@teapot-kms/core';

/**
 * Reads a file that an option of a command names.
 * @param maxBytes - the longest content
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST` for a file that is too long or is none, and the errors of the file system
 */
export function readInputFile(file: string, maxBytes: number): Buffer {
  try {
    return readSmallFileSync(file, maxBytes);
  } catch (error) {
    if (error instanceof FileRefused) throw KmsError.from(error, 'ERR_KMS_INVALID_REQUEST');
    throw error;
  }
}
