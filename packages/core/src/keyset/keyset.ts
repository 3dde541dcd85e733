import { EnvelopeKey } from '../envelope/envelope.ts';
import { KEY_BYTES } from '../envelope/limits.ts';
import { KmsError } from '../errors.ts';
import type { SecretBytes } from '../util/secret-bytes.ts';
import { wrongBlobSize } from './blob.ts';
import { KeyProof } from './key-proof.ts';
import type { LegacyOpener } from './legacy-opener.ts';
import type { ManifestEntry, StoredManifest } from './manifest.ts';
import { restoreExchanged, RESTORE_KEYS } from './restoring.ts';

/** Keys that are fetched from the store at the same time. */
const FETCHES_AT_A_TIME = 4;

export interface LoadContext {
  /** Aborted when the instance closes or the load takes too long. */
  readonly signal: AbortSignal;
  /**
   * Judges the manifest before any key is fetched: of a keyset that is not the one in use, no loss counts.
   * @throws {@link KmsError} `ERR_KMS_KEYSET_STALE` to refuse it
   */
  readonly accept?: (manifest: StoredManifest) => Promise<void>;
}

interface LoadedKey {
  readonly key: EnvelopeKey;
  readonly proof: KeyProof;
  /** The keyset that it was loaded for. */
  readonly contextId: string;
  /** Whether the manifest's check value shows that it is the right key. Version 1 has none. */
  readonly verified: boolean;
}

/**
 * The keys of one instance in memory: the primary seals, the others only open. A change makes a new keyset, which takes over the keys that it
 * could not load ({@link Keyset.keepFrom}), and destroys the old one.
 */
export class Keyset {
  readonly manifest: StoredManifest;
  /** Opens what another plugin wrote. Never seals. {@link LegacyService} uses it. */
  readonly legacy: LegacyOpener | undefined;
  readonly #problems: Map<string, KmsError>;
  readonly #keys: Map<string, LoadedKey>;

  private constructor(
    manifest: StoredManifest,
    keys: Map<string, LoadedKey>,
    { problems, legacy }: { problems: Map<string, KmsError>; legacy: LegacyOpener | undefined },
  ) {
    this.manifest = manifest;
    this.#problems = problems;
    this.legacy = legacy;
    this.#keys = keys;
  }

  /**
   * Fetches the blob of every key that is not retired, a few at a time, and compares it with its check value
   * (`docs/spec/keyset-v2.md` §5.3). A key that is damaged, or gone for certain, is left out ({@link Keyset.problems}).
   * @param context - may refuse the manifest before a key is fetched
   * @param fetchKey - returns the 32 raw bytes of a key. If it throws anything but `ERR_KMS_KEYSET_INVALID`,
   * `ERR_KMS_KEYSET_PERMISSIONS` or `ERR_KMS_KEY_GONE`, the load fails and keeps nothing
   * @param loadLegacy - loads the opener of what another plugin wrote
   * @throws {@link KmsError} what `fetchKey` throws
   */
  static async load(
    { accept }: LoadContext,
    manifest: StoredManifest,
    fetchKey: (keyId: string, entry: ManifestEntry) => Promise<SecretBytes>,
    loadLegacy?: () => Promise<LegacyOpener | undefined>,
  ): Promise<Keyset> {
    await accept?.(manifest);
    const keys = new Map<string, LoadedKey>();
    const problems = new Map<string, KmsError>();
    const fetchOne = async (entry: ManifestEntry): Promise<void> => {
      try {
        keys.set(entry.id, loadedKey(await fetchKey(entry.id, entry), entry, manifest));
      } catch (error) {
        if (!(error instanceof KmsError) || !isLossOfOneKey(error)) throw error;
        problems.set(entry.id, error);
      }
    };
    try {
      const wanted = inUse(manifest);
      const fetches = Array.from({ length: FETCHES_AT_A_TIME }, async () => {
        for (const entry of wanted) await fetchOne(entry);
      });
      const failed = (await Promise.allSettled(fetches)).find((outcome) => outcome.status === 'rejected');
      if (failed) throw failed.reason;
      return new Keyset(manifest, keys, { problems, legacy: await loadLegacy?.() });
    } catch (error) {
      for (const key of keys.values()) destroy(key);
      throw error;
    }
  }

  /**
   * The key that seals.
   * @throws {@link KmsError} the reason why it could not be loaded
   */
  get primary(): EnvelopeKey {
    return this.find(this.manifest.primary);
  }

  /** Whether the primary is loaded. */
  get seals(): boolean {
    return this.has(this.manifest.primary);
  }

  /** Listed keys that the store does not have whole, and why. Such a key may still be in memory ({@link Keyset.keepFrom}). */
  get problems(): ReadonlyMap<string, KmsError> {
    return this.#problems;
  }

  /** What proves that this process holds a key, by the ids that the manifest lists. A key that is only in memory is lost at the next restart. */
  get proofs(): ReadonlyMap<string, KeyProof> {
    const onlyInMemory = new Set([...this.#unlisted(), ...this.#problems.keys()]);
    return new Map([...this.#keys].flatMap(([id, { proof }]) => (onlyInMemory.has(id) ? [] : [[id, proof]])));
  }

  /** Whether a check value shows that this is the key that the manifest lists. */
  isVerified(keyId: string): boolean {
    return this.#keys.get(keyId)?.verified ?? false;
  }

  /** What an operator should know: keys that could not be loaded, legacy keys that cannot be used. */
  get warnings(): readonly (KmsError | string)[] {
    const { generation } = this.manifest;
    const kept = this.#unlisted().map(
      (id) =>
        `key ${id} is only in memory: generation ${generation} of the keyset does not list it. If data may still need it, restore the keyset that lists it before the plugin restarts`,
    );
    return [...this.#problems.values(), ...kept, ...(this.legacy?.warnings ?? [])];
  }

  #unlisted(): string[] {
    const listed = new Set(this.manifest.keys.map(({ id }) => id));
    return [...this.#keys.keys()].filter((id) => !listed.has(id));
  }

  /** Whether a manifest lists the key that seals: then, as far as a manifest can tell, its store has it. */
  primaryIsIn(manifest: StoredManifest): boolean {
    const entry = manifest.keys.find(({ id, state }) => id === this.manifest.primary && state !== 'retired');
    const held = this.#keys.get(this.manifest.primary);
    return entry !== undefined && held !== undefined && isKeyOf(manifest, entry, held);
  }

  /**
   * Takes over the keys of the keyset before that this one lists and could not load, or does not list. So only a manifest that says "retired"
   * takes a key out of memory, and neither damage in the store nor a keyset that comes from elsewhere does.
   */
  keepFrom(before: Keyset): void {
    const entries = new Map(this.manifest.keys.map((entry) => [entry.id, entry]));
    for (const [id, held] of before.#keys) {
      const entry = entries.get(id);
      const loaded = this.#keys.get(id);
      const unchecked = entry?.check === undefined && held.contextId === this.manifest.contextId;
      if (loaded && unchecked && !loaded.proof.matches(held.proof.check)) {
        this.#problems.set(id, exchanged(id));
        destroy(loaded);
      } else if (entry && !(this.#problems.has(id) && isKeyOf(this.manifest, entry, held))) continue;
      before.#keys.delete(id);
      this.#keys.set(id, held);
    }
  }

  /** Whether the key is loaded. */
  has(keyId: string): boolean {
    return this.#keys.has(keyId);
  }

  /** @throws {@link KmsError} `ERR_KMS_UNKNOWN_KEY`, and as {@link Keyset.get} */
  find(keyId: string): EnvelopeKey {
    const key = this.get(keyId);
    if (key) return key;
    throw new KmsError('ERR_KMS_UNKNOWN_KEY', `key ${keyId} is not in this keyset`);
  }

  /**
   * @returns `undefined` for a key that is not in this keyset
   * @throws {@link KmsError} `ERR_KMS_KEY_RETIRED`; the reason why the key could not be loaded
   */
  get(keyId: string): EnvelopeKey | undefined {
    const loaded = this.#keys.get(keyId);
    if (loaded) return loaded.key;
    const problem = this.#problems.get(keyId);
    if (problem) throw problem;
    if (this.manifest.keys.some((entry) => entry.id === keyId)) {
      throw new KmsError('ERR_KMS_KEY_RETIRED', `key ${keyId} was retired`);
    }
    return undefined;
  }

  /**
   * The key to seal with: the key that Status announced, if it is or was the primary; otherwise the primary (design D1).
   * @throws {@link KmsError} the reason why the primary could not be loaded
   */
  sealingKey(announcedKeyId: string | undefined): EnvelopeKey {
    if (announcedKeyId === undefined || announcedKeyId === this.manifest.primary) return this.primary;
    const announced = this.manifest.keys.find((entry) => entry.id === announcedKeyId);
    return (announced?.state === 'promoted' ? this.#keys.get(announcedKeyId)?.key : undefined) ?? this.primary;
  }

  /** Wipes every key. */
  destroy(): void {
    for (const key of this.#keys.values()) destroy(key);
    this.legacy?.destroy();
  }
}

/** @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` if the length is wrong or the check value does not match */
function loadedKey(key: SecretBytes, { id: keyId, check }: ManifestEntry, manifest: StoredManifest): LoadedKey {
  if (key.length !== KEY_BYTES) {
    key.wipe();
    throw wrongBlobSize(`key ${keyId}`, key.length);
  }
  const contextId = Buffer.from(manifest.contextId, 'hex');
  const proof = new KeyProof(key, contextId, keyId);
  if (check !== undefined && !proof.matches(check)) {
    proof.destroy();
    key.wipe();
    const message = `key ${keyId}: its bytes do not match the check value in the manifest`;
    throw new KmsError('ERR_KMS_KEYSET_INVALID', message, { remedy: RESTORE_KEYS });
  }
  const envelopeKey = new EnvelopeKey({ key, keyId, contextId });
  return { key: envelopeKey, proof, contextId: manifest.contextId, verified: check !== undefined };
}

/** Whether a key is the one that this manifest lists. Version 1 lists no check value. */
function isKeyOf(manifest: StoredManifest, { check }: ManifestEntry, { contextId, proof }: LoadedKey): boolean {
  return check === undefined ? contextId === manifest.contextId : proof.matches(check);
}

/** Version 1 has no check value that could tell which bytes are right. Those in memory may have sealed data. */
function exchanged(keyId: string): KmsError {
  const message = `key ${keyId}: its bytes are not those of the key in memory, which stays in use. Version 1 has no check value that tells which are right`;
  return new KmsError('ERR_KMS_KEYSET_INVALID', message, { remedy: restoreExchanged(keyId) });
}

/** Whether the error takes away this one key and says nothing of the others. */
export function isLossOfOneKey({ code }: KmsError): boolean {
  return code === 'ERR_KMS_KEYSET_INVALID' || code === 'ERR_KMS_KEYSET_PERMISSIONS' || code === 'ERR_KMS_KEY_GONE';
}

function destroy({ key, proof }: LoadedKey): void {
  key.destroy();
  proof.destroy();
}

/** The entries whose blobs are loaded. Several loops share one generator: a failure in one of them ends it for all. */
function* inUse(manifest: StoredManifest): Generator<ManifestEntry> {
  yield* manifest.keys.filter(({ state }) => state !== 'retired');
}
