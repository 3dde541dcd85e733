import type { KeysetAdmin, KeysetSource } from '@teapot-kms/core';

/** One keyset in one key store, and what a test may do to it behind the source's back. */
export interface KeysetSourceFixture {
  /** Over a keyset that does not exist yet. */
  readonly source: KeysetSource;
  /** Another source of the same keyset, as another replica has it. */
  readonly reopen: () => KeysetSource;
  /** Puts any text in the manifest's place. */
  readonly replaceManifest?: (text: string) => Promise<void>;
  /** Puts any bytes in the place of a key's blob. */
  readonly putBlob?: (keyId: string, bytes: Buffer) => Promise<void>;
  /** What a key whose blob was taken away is: damage, or, where the store itself is the authority, gone. Default: damage. */
  readonly removedIs?: 'ERR_KMS_KEYSET_INVALID' | 'ERR_KMS_KEY_GONE';
  /** The store tells of no change, so `watch` hints at nothing. */
  readonly withoutHints?: true;
  /** Takes a key's blob away. */
  readonly removeBlob?: (keyId: string) => Promise<void>;
  /** The bytes of a key as the store has them: what must not be seen anywhere. */
  readonly readBlob?: (keyId: string) => Promise<Buffer>;
  readonly close?: () => Promise<void>;
}

/** Registers one test of the suite. */
export type Behaviour = (
  what: string,
  run: (fixture: KeysetSourceFixture, admin: KeysetAdmin) => Promise<void>,
) => void;
