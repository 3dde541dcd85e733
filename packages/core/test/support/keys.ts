import { rememberSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { EnvelopeKey } from '../../src/envelope/envelope.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';

/** 32 random bytes that the search of the logs will look for. */
export function newKeyBytes(): Buffer {
  const bytes = randomBytes(32);
  rememberSecret(bytes);
  return bytes;
}

export interface TestKey {
  readonly bytes?: Buffer;
  readonly keyId?: string;
  readonly contextId?: Buffer;
  readonly wrapped?: Buffer;
}

/** A key with everything that a test does not care about filled in. */
export function makeKey(options: TestKey = {}): EnvelopeKey {
  const { bytes = newKeyBytes(), keyId = 'test-key', contextId = Buffer.alloc(16, 0xc0), wrapped } = options;
  const key = new SecretBytes(Buffer.from(bytes));
  return new EnvelopeKey({ key, keyId, contextId, ...(wrapped ? { wrapped } : {}) });
}
