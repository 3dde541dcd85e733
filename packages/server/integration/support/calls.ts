import { rememberSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';

/** A 32-byte plaintext as kube-apiserver makes them, which the search of the logs will look for. */
export function seed(): Buffer {
  const bytes = randomBytes(32);
  rememberSecret(bytes);
  return bytes;
}

/** The gRPC status code of a call that must fail. */
export async function grpcCode(promise: Promise<unknown>): Promise<number | undefined> {
  try {
    await promise;
  } catch (error) {
    return (error as { code?: number }).code;
  }
  throw new Error('the call succeeded');
}
