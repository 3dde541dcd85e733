/** A kind of key store that the scenarios can run on: one file in key-stores/, and one call per test file. */
export interface KeyStore {
  readonly name: string;
  /**
   * Most bytes that ciphertext, key_id and annotations may take together (design D5): 160 with keys in memory, 256
   * with a symmetric key in a token, 560 with RSA.
   */
  readonly maxOverheadBytes: number;
  /** What this machine lacks for it, and how to get that. Left out where it needs nothing. */
  missing?(): string | undefined;
  /**
   * Makes a store with one key in it.
   *
   * @param directory - an empty directory for whatever it needs on disk
   */
  open(directory: string): Promise<KeyStoreFixture>;
}

/** One store with its keys. */
export interface KeyStoreFixture {
  /** `keys` of an instance in the plugin's configuration. */
  readonly keys: Readonly<Record<string, unknown>>;
  /** What the plugin needs in its environment for it. */
  readonly env?: Readonly<Record<string, string>>;
  /** The key_id that Status must say. */
  primary(): Promise<string>;
  /** Makes a key and lets it take over at once; returns its id. */
  rotate(): Promise<string>;
  /** Ends the use of a former primary. */
  retire(keyId: string): Promise<void>;
  /** Makes the store unreachable for a running plugin (not lost: design D3); the answer puts it back. */
  takeAway(): Promise<() => Promise<void>>;
  /**
   * Starts to add a key and is killed in the middle of it, at another point each time. Left out where nothing is
   * written by us.
   */
  addKeyAndDie?(): Promise<void>;
  /** Key material that no log may contain, as far as it can be had. */
  secrets(): Promise<readonly Buffer[]>;
  dispose(): Promise<void>;
}
