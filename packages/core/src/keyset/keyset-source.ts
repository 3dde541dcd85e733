import type { z } from 'zod';
import { KmsError } from '../errors.ts';
import type { Keyset } from './keyset.ts';
import type { Finding } from '../finding.ts';
import type { SharedResources } from '../util/shared-resources.ts';
import type { KeyPlace, Manifest } from './manifest.ts';

export interface LoadContext {
  /** Aborted when the instance closes or the time for one load is over. */
  readonly signal: AbortSignal;
}

/**
 * The seam for key stores that deliver keys (design §2): file, Kubernetes Secret, Barbican. All else about them is
 * {@link KeysetService}'s, and the suite in `testing/keyset-source-suite.ts` says what is expected of each.
 */
export interface KeysetSource {
  /** The key URI, without anything secret. */
  readonly uri: string;
  /**
   * Reads the whole keyset as it is now: never half of a change. Where the store says for certain that a key other than the primary is
   * gone, the keyset comes without it ({@link Keyset.missing}).
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`; `ERR_KMS_KEY_GONE` only when the store itself says so for
   * certain; `ERR_KMS_KEYSET_INVALID`, `ERR_KMS_KEYSET_PERMISSIONS`
   */
  load(context: LoadContext): Promise<Keyset>;
  /**
   * Calls `onChange` soon after the store may have changed. Only a hint: calls may be missing (the service loads at
   * intervals anyway) or too many. Never throws.
   * @returns what ends the watch
   */
  watch(onChange: () => void): () => void;
  /** ms that one load may take, where 10 s are not enough. */
  readonly loadTimeoutMs?: number;
  /** ms after which keys that the store has not confirmed again must not be used any more. Without it there is no end. */
  readonly maxUnconfirmedMs?: number;
  /** What this kind of store can check beyond what a load shows, for `doctor`. Never throws for what it finds. */
  examine?(context: LoadContext): Promise<readonly Finding[]>;
  /** Where keys can be managed through us: what `teapot-kms keys` works on. */
  readonly admin?: KeysetAdmin;
  /** Lets go of connections, watches and what it shares with others. May come twice. */
  close?(): Promise<void>;
}

/** The store as seen by who manages keys. The order of calls makes a change atomic: keys first, manifest last. */
export interface KeysetAdmin {
  /**
   * Where changes go, for whoever makes them: a server, and how it was found. Only where the URI does not say it.
   * @throws {@link KmsError} as {@link KeysetAdmin.readManifest}
   */
  destination?(): Promise<string>;
  /** The manifest with the revision it was read at, or `undefined` where there is no keyset yet. */
  readManifest(): Promise<{ manifest: Manifest; revision: string } | undefined>;
  /**
   * Makes a new random key under `keyId`, durable at the latest with the manifest that names it. It is in no keyset until
   * then.
   * @returns what its entry in the manifest must say
   */
  createKey(keyId: string): Promise<KeyPlace>;
  /**
   * The commit point.
   * @param revision - of the manifest that this one was derived from; `undefined` for the first
   * @throws {@link KmsError} `ERR_KMS_KEYSET_CONFLICT` when somebody else changed it meanwhile
   */
  writeManifest(manifest: Manifest, revision: string | undefined): Promise<void>;
  /**
   * Destroys a key that is in no manifest. Succeeds where it is gone already.
   * @param place - what its entry said
   */
  destroyKey(keyId: string, place: KeyPlace): Promise<void>;
}

/** What {@link KeysetAdmin.writeManifest} throws for who comes too late. */
export function keysetConflict(): KmsError {
  const text = 'somebody else changed the keyset meanwhile; look at it and try again';
  return new KmsError('ERR_KMS_KEYSET_CONFLICT', text);
}

/** One kind of key store: an exported constant in `providers/`, listed in its index. */
export interface KeysetProvider<Settings extends z.ZodObject = z.ZodObject> {
  readonly kind: 'keyset';
  /** What stands before the colon of a key URI. */
  readonly scheme: string;
  /** What a user may set beside the URI; becomes part of the configuration's schema. */
  readonly settings: Settings;
  /**
   * Touches neither disk nor network: also called to check a configuration.
   * @throws {@link KmsError} `ERR_KMS_INVALID_URI`
   */
  open(uri: string, settings: z.output<Settings>, shared: SharedResources): KeysetSource;
}

/** The scheme of a key URI: `file` of `file:/etc/teapot-kms/keys`. */
export function schemeOf(uri: string): string {
  const scheme = /^([a-z][a-z0-9-]*):/.exec(uri)?.[1];
  if (scheme === undefined) {
    throw new KmsError('ERR_KMS_INVALID_URI', `expected a key URI such as file:/path, found ${JSON.stringify(uri)}`);
  }
  return scheme;
}
