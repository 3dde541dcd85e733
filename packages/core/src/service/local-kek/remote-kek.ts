import type { z } from 'zod';
import type { KeysetAdmin, LoadContext, StoreProvider } from '../../keyset/keyset-source.ts';
import type { ManifestEntry, StoredManifest } from '../../keyset/manifest.ts';
import type { Finding } from '../../finding.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import type { Damage } from '../damage.ts';

export interface RemoteContext extends Pick<LoadContext, 'accept'> {
  /** Aborted when no caller waits any more. The store should then free what the operation holds. */
  readonly signal: AbortSignal;
}

/** A key that an earlier manifest listed, and the present one does not (`docs/spec/keyset-v2.md` §6). */
export interface UnlistedKey {
  readonly entry: ManifestEntry;
  /** Of the keyset that listed it. 16 bytes. */
  readonly contextId: Buffer;
}

/** The versions of the key. They are the same on every replica. */
export interface RemoteKekDescription {
  /** 16 bytes, see {@link Manifest.contextId}. */
  readonly contextId: Buffer;
  /** The version that wraps. */
  readonly primary: string;
  /** Every version that unwraps, the primary included, with its state. */
  readonly keys: readonly { readonly id: string; readonly state: 'pending' | 'promoted' }[];
  /** The ids of versions that the store does not have now. Default: none. */
  readonly missing?: readonly string[];
  /** Versions of earlier manifests that this one does not list. They unwrap until the plugin ends. Default: none. */
  readonly unlisted?: readonly UnlistedKey[];
  /** The manifest that this is from, for stores that have one. */
  readonly manifest?: StoredManifest | undefined;
  /** Damage in the store. With `primary`, the store does not have the primary: then versions that were known before stay in use. */
  readonly damaged?: Damage | undefined;
}

/**
 * The seam for key stores whose key-encryption key never leaves them (design §2): HSM and TPM. Each operation costs 0.05–200 ms, and
 * {@link LocalKekService} needs few of them. `remoteKekSuite` of `@teapot-kms/testing` is the contract.
 */
export interface RemoteKek {
  /** The key URI, without anything secret. */
  readonly uri: string;
  /**
   * Lists the versions of the key. Called at intervals in the background as the probe, so it must reach the token.
   * A primary that is gone for certain is damage, so that the other versions still unwrap.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
   */
  describe(context: RemoteContext): Promise<RemoteKekDescription>;
  /**
   * Wraps a local KEK under version `keyId`.
   * @param key - 32 bytes. The store neither keeps nor wipes it
   * @returns 1–512 bytes with everything that unwrap needs
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, `ERR_KMS_KEY_GONE`, `ERR_KMS_UNKNOWN_KEY`
   */
  wrap(keyId: string, key: SecretBytes, context: RemoteContext): Promise<Buffer>;
  /**
   * Undoes {@link RemoteKek.wrap}, on any replica.
   * @returns exactly 32 bytes, which the caller wipes
   * @throws {@link KmsError} as wrap, and `ERR_KMS_UNWRAP_FAILED` for bytes that this version did not wrap
   */
  unwrap(keyId: string, wrapped: Buffer, context: RemoteContext): Promise<SecretBytes>;
  /**
   * Calls `onChange` soon after the keys may have changed. Only a hint, as for {@link KeysetSource.watch}.
   * @returns a function that ends the watch
   */
  watch?(onChange: () => void): () => void;
  /** The store's own monotonic counters, for metrics: name (snake_case, without prefix) to value. */
  counters?(): Readonly<Record<string, number>>;
  /** Checks the store, for `doctor`. Returns problems and does not throw them. */
  examine?(context: RemoteContext): Promise<readonly Finding[]>;
  /** Manages the keys, for `teapot-kms keys`. Absent if the plugin cannot manage them. */
  readonly admin?: KeysetAdmin;
  /** Releases sessions, watches and shared resources. May be called twice. */
  close(): Promise<void>;
}

/** How a service uses the token. `localKekSettings` has the defaults. */
export interface LocalKekLimits {
  /** Age in ms at which a local KEK is replaced, and an unwrapped one unwrapped again, in the background. */
  readonly softAgeMs: number;
  /** Age in ms at which a local KEK is no longer used: how long a revoked KEK still works. */
  readonly hardAgeMs: number;
  /** Most unwrapped local KEKs in memory. */
  readonly cacheEntries: number;
  /** Most operations that wait for the token at the same time. Callers that share one are not counted. */
  readonly maxPending: number;
  /** Sends every call to the token: a local KEK for each Encrypt, no cache. For an audit log that shows each use. */
  readonly direct: boolean;
}

/** A kind of key store whose keys stay in it. {@link localKekSettings} are among its settings. */
export interface RemoteKekProvider<Settings extends z.ZodObject = z.ZodObject> extends StoreProvider<
  RemoteKek,
  Settings
> {
  readonly kind: 'remote-kek';
}
