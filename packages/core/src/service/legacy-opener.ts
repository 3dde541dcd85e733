/**
 * Opens ciphertexts that another plugin wrote before this one took over its socket and its provider's name. Part of a {@link Keyset};
 * nothing is ever sealed with it.
 */
export interface LegacyOpener {
  /** Ids that requests name its keys by. */
  readonly keyIds: readonly string[];
  /** What an operator should know, e.g. a key that is gone. */
  readonly warnings: readonly string[];
  /**
   * @param keyId - of a KMS v2 request; KMS v1 has none, so each key is tried
   * @returns the plaintext, the caller's own, and the key that opened it; `undefined` where it cannot be opened, whatever the reason
   */
  open(
    ciphertext: Buffer,
    keyId: string | undefined,
  ): { readonly keyId: string; readonly plaintext: Buffer } | undefined;
  /** Wipes its keys. */
  destroy(): void;
}
