import { EnvelopeKey } from '../envelope/envelope.ts';
import { KmsError } from '../errors.ts';
import type { SecretBytes } from '../util/secret-bytes.ts';
import type { LegacyOpener } from './legacy-opener.ts';
import type { Manifest, ManifestEntry } from './manifest.ts';

/** Keys that are fetched from the store at the same time. */
const FETCHES_AT_A_TIME = 4;

/**
 * The keys of one instance in memory: the primary seals, the others only open. Immutable: a change makes a new keyset and destroys the old
 * one.
 */
export class Keyset {
  readonly manifest: Manifest;
  /** Keys that the manifest lists and that are gone for certain, with the store's error. Never the primary. */
  readonly missing: ReadonlyMap<string, KmsError>;
  /** Opens what another plugin wrote. Never seals. {@link LegacyService} uses it. */
  readonly legacy: LegacyOpener | undefined;
  readonly #keys: ReadonlyMap<string, EnvelopeKey>;

  private constructor(
    manifest: Manifest,
    keys: ReadonlyMap<string, EnvelopeKey>,
    { missing, legacy }: { missing: ReadonlyMap<string, KmsError>; legacy: LegacyOpener | undefined },
  ) {
    this.manifest = manifest;
    this.missing = missing;
    this.legacy = legacy;
    this.#keys = keys;
  }

  /**
   * Fetches the blob of every key that is not retired, a few at a time.
   * @param fetchKey - returns the 32 raw bytes of a key. If it throws, the load fails and keeps nothing. Exception: `ERR_KMS_KEY_GONE` for
   * a key other than the primary leaves that key out
   * @param loadLegacy - loads the opener of what another plugin wrote
   * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` for a blob of another size
   */
  static async load(
    manifest: Manifest,
    fetchKey: (keyId: string, entry: ManifestEntry) => Promise<SecretBytes>,
    loadLegacy?: () => Promise<LegacyOpener | undefined>,
  ): Promise<Keyset> {
    const contextId = Buffer.from(manifest.contextId, 'hex');
    const keys = new Map<string, EnvelopeKey>();
    const missing = new Map<string, KmsError>();
    const fetchOne = async (entry: ManifestEntry): Promise<void> => {
      try {
        keys.set(entry.id, new EnvelopeKey({ key: await fetchKey(entry.id, entry), keyId: entry.id, contextId }));
      } catch (error) {
        const gone = error instanceof KmsError && error.code === 'ERR_KMS_KEY_GONE';
        if (!gone || entry.id === manifest.primary) throw error;
        missing.set(entry.id, error);
      }
    };
    try {
      const wanted = inUse(manifest);
      const fetches = Array.from({ length: FETCHES_AT_A_TIME }, async () => {
        for (const entry of wanted) await fetchOne(entry);
      });
      const failed = (await Promise.allSettled(fetches)).find((outcome) => outcome.status === 'rejected');
      if (failed) throw failed.reason;
      return new Keyset(manifest, keys, { missing, legacy: await loadLegacy?.() });
    } catch (error) {
      for (const key of keys.values()) key.destroy();
      throw error;
    }
  }

  get primary(): EnvelopeKey {
    return this.#keys.get(this.manifest.primary)!;
  }

  /** What an operator should know: keys that are gone, legacy keys that cannot be used. One line each. */
  get warnings(): readonly string[] {
    const gone = [...this.missing.values()].map(({ code, message }) => `${code}: ${message}`);
    return [...gone, ...(this.legacy?.warnings ?? [])];
  }

  /** @throws {@link KmsError} `ERR_KMS_UNKNOWN_KEY`, `ERR_KMS_KEY_RETIRED`, `ERR_KMS_KEY_GONE` */
  find(keyId: string): EnvelopeKey {
    const key = this.get(keyId);
    if (key) return key;
    throw new KmsError('ERR_KMS_UNKNOWN_KEY', `key ${keyId} is not in this keyset`);
  }

  /**
   * @returns `undefined` for a key that is not in this keyset
   * @throws {@link KmsError} `ERR_KMS_KEY_RETIRED`, `ERR_KMS_KEY_GONE`
   */
  get(keyId: string): EnvelopeKey | undefined {
    const key = this.#keys.get(keyId);
    if (key) return key;
    const gone = this.missing.get(keyId);
    if (gone) throw gone;
    if (this.manifest.keys.some((entry) => entry.id === keyId)) {
      throw new KmsError('ERR_KMS_KEY_RETIRED', `key ${keyId} was retired`);
    }
    return undefined;
  }

  /**
   * The key to seal with: the key that Status announced, if it is or was the primary; otherwise the primary (design D1).
   */
  sealingKey(announcedKeyId: string | undefined): EnvelopeKey {
    if (announcedKeyId === undefined || announcedKeyId === this.manifest.primary) return this.primary;
    const announced = this.manifest.keys.find((entry) => entry.id === announcedKeyId);
    return (announced?.state === 'promoted' ? this.#keys.get(announcedKeyId) : undefined) ?? this.primary;
  }

  /** Wipes every key. */
  destroy(): void {
    for (const key of this.#keys.values()) key.destroy();
    this.legacy?.destroy();
  }
}

/** The entries whose blobs are loaded. Several loops share one generator: a failure in one of them ends it for all. */
function* inUse(manifest: Manifest): Generator<ManifestEntry> {
  yield* manifest.keys.filter(({ state }) => state !== 'retired');
}
