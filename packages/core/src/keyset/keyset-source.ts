import type { z } from 'zod';
import { KmsError } from '../errors.ts';
import type { KmsService, MaybePromise } from '../kms-service.ts';
import type { Keyset, LoadContext } from './keyset.ts';
import type { Finding } from '../finding.ts';
import type { Owner } from '../util/durable-directory.ts';
import type { SecretBytes } from '../util/secret-bytes.ts';
import type { SharedResources } from '../util/shared-resources.ts';
import type { KeyTraits, Manifest, StoredManifest } from './manifest.ts';

export type { LoadContext };

/**
 * The seam for key stores that deliver keys (design §2): file, Kubernetes Secret, Barbican. {@link KeysetService} does everything else.
 * `keysetSourceSuite` of `@teapot-kms/testing` is the contract.
 */
export interface KeysetSource {
  /** The key URI, without anything secret. */
  readonly uri: string;
  /**
   * Reads the whole keyset, never half of a change. If the store says for certain that a key other than the primary is gone, the keyset
   * comes without it ({@link Keyset.missing}).
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`; `ERR_KMS_KEY_GONE` only if the store itself says so for certain;
   * `ERR_KMS_KEYSET_INVALID`, `ERR_KMS_KEYSET_PERMISSIONS`
   */
  load(context: LoadContext): Promise<Keyset>;
  /**
   * Calls `onChange` soon after the store may have changed. This is only a hint: calls may be missing, because the service loads at
   * intervals anyway, or superfluous. Never throws. The service begins a new watch after each outage.
   * @returns a function that ends the watch
   */
  watch(onChange: () => void): () => void;
  /** Time in ms that one load may take. Default 10 s. */
  readonly loadTimeoutMs?: number;
  /** Time in ms after which keys that the store has not confirmed are wiped. Default: never. */
  readonly maxUnconfirmedMs?: number;
  /**
   * Asks the store for each key of a manifest that is in use, while it offers another manifest or none. Only with `maxUnconfirmedMs`.
   * @throws {@link KmsError} as {@link KeysetSource.load}, and if it does not deliver the primary
   */
  confirm?(manifest: StoredManifest, signal: AbortSignal): Promise<void>;
  /** Checks what a load does not show, for `doctor`. Returns problems and does not throw them. */
  examine?(context: LoadContext): Promise<readonly Finding[]>;
  /** Manages the keys, for `teapot-kms keys`. Absent if the plugin cannot manage them. */
  readonly admin?: KeysetAdmin;
  /** Releases connections, watches and shared resources. May be called twice. */
  close?(): Promise<void>;
}

/** A manifest that is stored. */
export interface ManifestRevision {
  readonly manifest: StoredManifest;
  /** What changes with each write. */
  readonly revision: string;
  /** Byte for byte. */
  readonly text: string;
}

/** A keyset with its keys, outside of any store. Its holder wipes the keys. */
export interface KeysetBackup {
  /** The manifest, byte for byte. */
  readonly manifest: string;
  /** 32 bytes each, by key id. */
  readonly keys: ReadonlyMap<string, SecretBytes>;
}

/** Manages the keys of a store. The order of calls makes a change atomic: keys first, manifest last. */
export interface KeysetAdmin {
  /**
   * Where changes go, for whoever makes them: a server, and how it was found. Only where the URI does not say it.
   * @throws {@link KmsError} as {@link KeysetAdmin.readManifest}
   */
  destination?(): Promise<string>;
  /** Says whom the files and directories on this host that a change makes belong to. Absent if there are none. Only root may give files away. */
  ownedBy?(owner: Owner): void;
  /** The manifest as it is stored, or `undefined` if there is no keyset yet. */
  readManifest(): Promise<ManifestRevision | undefined>;
  /**
   * Names the keys in the place of a keyset that has no manifest: the manifest was lost, and data may need them. Absent where nothing shows to
   * which keyset a key belongs.
   */
  orphans?(): Promise<readonly string[]>;
  /**
   * Creates a key under `keyId`. It is durable at the latest when the manifest names it, and belongs to no keyset until then.
   * @param contextId - 16 bytes, which the check value binds
   * @param key - its 32 bytes, which stay the caller's. Default: random ones that only the store knows
   * @returns what its entry in the manifest must contain
   * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` if `key` is given and the store takes no key from outside
   */
  createKey(keyId: string, contextId: Buffer, key?: SecretBytes): Promise<KeyTraits>;
  /**
   * Reads the 32 bytes of a key in any state; the caller wipes them. Absent if keys never leave the store.
   * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID`, `ERR_KMS_KEY_GONE` if the store does not have the key whole; `ERR_KMS_STORE_UNAVAILABLE`
   */
  readKey?(keyId: string, traits: KeyTraits): Promise<SecretBytes>;
  /** Whether there is a key of this id. Only where keys never leave the store. */
  holdsKey?(keyId: string): Promise<boolean>;
  /** What the entry of an existing key must contain in version 2, for stores whose loaded keys do not show it: {@link Keyset.proofs}. */
  traitsOf?(keyId: string, contextId: Buffer): Promise<KeyTraits>;
  /**
   * The commit point.
   * @param revision - revision of the manifest that this one replaces; `undefined` for the first
   * @throws {@link KmsError} `ERR_KMS_KEYSET_CONFLICT` if it was changed in between
   */
  writeManifest(manifest: Manifest, revision: string | undefined): Promise<void>;
  /**
   * Destroys a key that no manifest lists. Succeeds if the key is already gone.
   * @param traits - what its entry contained
   */
  destroyKey(keyId: string, traits: KeyTraits): Promise<void>;
}

/** The error of {@link KeysetAdmin.writeManifest} for a change that comes too late. */
export function keysetConflict(): KmsError {
  const remedy = 'run "teapot-kms keys list", and try again if the change is still wanted';
  return new KmsError('ERR_KMS_KEYSET_CONFLICT', 'another process changed the keyset at the same time', { remedy });
}

/** A running service as a {@link KeysetProvider.decorate} sees it. */
export interface KeysetHolder {
  /** The keyset in memory, `undefined` if there is none. */
  readonly keyset: Keyset | undefined;
  /**
   * The keyset that calls may use now. A promise only while the first load is under way.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` while no key is loaded, `ERR_KMS_KEY_GONE`, `ERR_KMS_CLOSED`
   */
  usableKeyset(): MaybePromise<Keyset>;
}

/** One kind of key store: an exported constant in `stores/`, listed in its index. */
export interface StoreProvider<Store, Settings extends z.ZodObject> {
  /** The scheme of its key URIs, without the colon. */
  readonly scheme: string;
  /** Settings beside the URI. They become part of the configuration's schema. */
  readonly settings: Settings;
  /**
   * Checks what the schema of the settings cannot: the URI, and settings that contradict each other. Touches neither disk nor network.
   * @throws {@link KmsError} `ERR_KMS_INVALID_URI`
   */
  check(uri: string, settings: z.output<Settings>): void;
  /**
   * Opens the key store that a URI and its settings name. Connects to nothing yet.
   * @throws {@link KmsError} `ERR_KMS_INVALID_URI`
   */
  open(uri: string, settings: z.output<Settings>, shared: SharedResources): Store;
}

/** A kind of key store that delivers keys. */
export interface KeysetProvider<Settings extends z.ZodObject = z.ZodObject> extends StoreProvider<
  KeysetSource,
  Settings
> {
  readonly kind: 'keyset';
  /** Wraps the service of an instance in another one, such as {@link LegacyService}. */
  decorate?(service: KmsService & KeysetHolder): KmsService;
}
