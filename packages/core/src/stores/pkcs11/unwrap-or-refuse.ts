import { KmsError } from '../../errors.ts';
import { kindOf } from './token-host/protocol.ts';
import type { Sealed } from './token-host/protocol.ts';

/** A token that fails at random in one operation of 100 does so in all rounds once in 10^11 unwraps. With two rounds it is 10^7. */
const ROUNDS = 3;

/**
 * Unwraps, and decides what a failure means: tokens return the same codes for wrong bytes and for trouble of their own (ADR 0007). The bytes
 * are wrong where the token fails in each round, and in between opens with the same key and mechanism what it has just wrapped.
 * @param unwrap - tries in two sessions
 * @param testKey - wraps and unwraps. A mechanism that the key cannot do has not wrapped anything
 * @throws {@link KmsError} `ERR_KMS_UNWRAP_FAILED`; what `unwrap` and `testKey` throw
 */
export async function unwrapOrRefuse(unwrap: () => Promise<Sealed>, testKey: () => Promise<unknown>): Promise<Sealed> {
  for (let round = 1; ; round++) {
    try {
      return await unwrap();
    } catch (error) {
      if (kindOf(error) !== 'ambiguous') throw error;
      if (round < ROUNDS && (await passes(testKey))) continue;
      const message = `the token refuses these bytes: ${(error as Error).message}`;
      throw new KmsError('ERR_KMS_UNWRAP_FAILED', message, { cause: error });
    }
  }
}

async function passes(testKey: () => Promise<unknown>): Promise<boolean> {
  try {
    await testKey();
    return true;
  } catch (error) {
    if (kindOf(error) !== 'unusable') throw error;
    return false;
  }
}
