import type { KmsError } from '../errors.ts';

/**
 * Opens ciphertexts that another KMS plugin wrote before this one took over its socket and its provider name. A store loads it together
 * with its keyset ({@link Keyset.legacy}). Nothing is ever sealed with it.
 */
export interface LegacyOpener {
  /** The ids that requests use for its keys. */
  readonly keyIds: readonly string[];
  /** What an operator should know, for example that a key is gone. */
  readonly warnings: readonly KmsError[];
  /**
   * @param keyId - from a KMS v2 request. KMS v1 has none: each key is tried
   * @returns the plaintext, which the caller owns, and the key that opened it; `undefined` if it cannot be opened for any reason
   */
  open(
    ciphertext: Buffer,
    keyId: string | undefined,
  ): { readonly keyId: string; readonly plaintext: Buffer } | undefined;
  /** Wipes its keys. */
  destroy(): void;
}
