import type { z } from 'zod';
import type { KmsError } from '../../errors.ts';
import type { KeysetAdmin } from '../../keyset/keyset-source.ts';
import type { Finding } from '../../finding.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import type { SharedResources } from '../../util/shared-resources.ts';

export interface RemoteContext {
  /** Aborted when nobody waits any more; the store should then free what the operation holds. */
  readonly signal: AbortSignal;
}

/** Which versions of the key there are, the same on every replica. */
export interface RemoteKekDescription {
  /** 16 bytes, see {@link Manifest.contextId}. */
  readonly contextId: Buffer;
  /** The version that wraps. */
  readonly primary: string;
  /** Every version that unwraps, the primary included, with its state. */
  readonly keys: readonly { readonly id: string; readonly state: 'pending' | 'promoted' }[];
  /** Trouble that takes nothing away: what was known before goes on. */
  readonly damaged?: KmsError | undefined;
}

/**
 * The seam for key stores whose key-encryption key never leaves them (design §2): HSM and TPM. Each operation costs
 * 0.05–200 ms; {@link LocalKekService} sees to it that few are needed. The suite in `testing/remote-kek-suite.ts` says what is
 * expected of each.
 */
export interface RemoteKek {
  /** The key URI, without anything secret. */
  readonly uri: string;
  /**
   * What keys there are now. Called at intervals in the background: doubles as the probe, so it must reach the token.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`; `ERR_KMS_KEY_GONE` when the token says so for certain
   */
  describe(context: RemoteContext): Promise<RemoteKekDescription>;
  /**
   * Wraps a local KEK under version `keyId`.
   * @param key - 32 bytes; the store neither keeps nor wipes it
   * @returns 1–512 bytes that hold everything unwrap needs
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, `ERR_KMS_KEY_GONE`, `ERR_KMS_UNKNOWN_KEY`
   */
  wrap(keyId: string, key: SecretBytes, context: RemoteContext): Promise<Buffer>;
  /**
   * Undoes {@link RemoteKek.wrap}, on any replica.
   * @returns exactly 32 bytes; the caller wipes them
   * @throws {@link KmsError} as wrap, and `ERR_KMS_UNWRAP_FAILED` for bytes that are not a wrapped key of this version
   */
  unwrap(keyId: string, wrapped: Buffer, context: RemoteContext): Promise<SecretBytes>;
  /**
   * Calls `onChange` soon after the keys may have changed. Only a hint, as {@link KeysetSource.watch} is.
   * @returns what ends the watch
   */
  watch?(onChange: () => void): () => void;
  /** Monotonic counters of the store's own, for metrics: name (snake_case, without prefix) to value. */
  counters?(): Readonly<Record<string, number>>;
  /** What this kind of store can check, for `doctor`. Never throws for what it finds. */
  examine?(context: RemoteContext): Promise<readonly Finding[]>;
  /** Where keys can be managed through us: what `teapot-kms keys` works on. */
  readonly admin?: KeysetAdmin;
  close(): Promise<void>;
}

/** One kind of key store whose keys stay in it: an exported constant in `providers/`, listed in its index. */
export interface RemoteKekProvider<Settings extends z.ZodObject = z.ZodObject> {
  readonly kind: 'remote-kek';
  /** What stands before the colon of a key URI. */
  readonly scheme: string;
  /** What a user may set beside the URI, {@link localKekSettings} among it; becomes part of the configuration's schema. */
  readonly settings: Settings;
  /**
   * Checks what the schema of the settings cannot: the URI, and settings that contradict each other. Touches neither disk nor token.
   * @throws {@link KmsError} `ERR_KMS_INVALID_URI`
   */
  check(uri: string, settings: z.output<Settings>): void;
  /**
   * Opens the key store that a URI and its settings name. Connects to nothing yet.
   * @throws {@link KmsError} `ERR_KMS_INVALID_URI`
   */
  open(uri: string, settings: z.output<Settings>, shared: SharedResources): RemoteKek;
}
