import type { KmsError } from '../errors.ts';

/** The store answered, and something in it is wrong. The keys in memory stay in use. */
export interface Damage {
  readonly error: KmsError;
  /** Whether the store no longer has the key that seals: then new data depends on memory alone, and Status reports it (design D3). */
  readonly primary: boolean;
  /** Whether the store said all the same which keys it has. If not, a key that is not in memory may still be there. */
  readonly answered: boolean;
}
