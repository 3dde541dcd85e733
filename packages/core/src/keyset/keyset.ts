import { EnvelopeKey } from '../envelope/envelope.ts';
import { KmsError } from '../errors.ts';
import type { SecretBytes } from '../util/secret-bytes.ts';
import type { LegacyOpener } from './legacy-opener.ts';
import type { Manifest, ManifestEntry } from './manifest.ts';

/** A store that answers slowly is asked for some keys at a time. */
const FETCHES_AT_A_TIME = 4;

/**
 * The keys of one instance in memory: one primary that seals, others that only open. Immutable; a change makes a new
 * one and destroys the old.
 */
export class Keyset {
  readonly manifest: Manifest;
  /** Keys that the manifest lists and that their store says are gone for certain, with what it said. Never the primary. */
  readonly missing: ReadonlyMap<string, KmsError>;
  /** Opens what another plugin has written; never seals. */
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
   * Fetches the blob of every key that is not retired, some at a time.
   * @param fetchKey - gives the 32 raw bytes of a key. What it throws is passed on and nothing is kept, but for `ERR_KMS_KEY_GONE` of a
   * key other than the primary: the keyset goes on without it
   * @param loadLegacy - makes the opener of what another plugin has written
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
      const wanted = manifest.keys.filter(({ state }) => state !== 'retired');
      await inTurns(wanted, FETCHES_AT_A_TIME, fetchOne);
      return new Keyset(manifest, keys, { missing, legacy: await loadLegacy?.() });
    } catch (error) {
      for (const key of keys.values()) key.destroy();
      throw error;
    }
  }

  get primary(): EnvelopeKey {
    return this.#keys.get(this.manifest.primary)!;
  }

  /** What an operator should know: keys that are gone, legacy keys that cannot be used. */
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
   * The key to seal with: the one that Status announced, if it is or was the primary, else the primary (design D1).
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

/** Does `work` for each item, `width` at a time. Settles when all have; the first failure stops the rest and is thrown. */
async function inTurns<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      if (failures.length > 0) return;
      await work(item).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  if (failures.length > 0) throw failures[0];
}
