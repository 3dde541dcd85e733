import { KmsError } from '@teapot-kms/core';
import type { KmsErrorCode } from '@teapot-kms/core';
import assert from 'node:assert/strict';

/**
 * Asserts that `work` throws, or gives a promise that rejects with, a {@link KmsError} of this code.
 * @returns the error, for a look at its message
 */
export async function rejectsWithCode(work: () => unknown, code: KmsErrorCode): Promise<KmsError> {
  const outcome = await outcomeOf(work);
  if ('value' in outcome) assert.fail(`expected ${code}, but nothing was thrown`);
  const { error } = outcome;
  if (!(error instanceof KmsError)) {
    const found = error instanceof Error ? (error.stack ?? error.message) : String(error);
    assert.fail(`expected a KmsError with ${code}, but thrown was: ${found}`);
  }
  assert.equal(error.code, code, error.message);
  return error;
}

async function outcomeOf(work: () => unknown): Promise<{ value: unknown } | { error: unknown }> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error };
  }
}
