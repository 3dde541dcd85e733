import { EnvelopeKey } from '../envelope/envelope.ts';
import { KmsError } from '../errors.ts';
import type { SecretBytes } from '../secret-bytes.ts';
import type { Manifest } from './manifest.ts';

/**
 * The keys of one instance in memory: one primary that seals, others that only open. Immutable; a change makes a new
 * one and destroys the old.
 */
export class Keyset {
  readonly manifest: Manifest;
  readonly #keys: ReadonlyMap<string, EnvelopeKey>;

  private constructor(manifest: Manifest, keys: ReadonlyMap<string, EnvelopeKey>) {
    this.manifest = manifest;
    this.#keys = keys;
  }

  /**
   * Fetches the blob of every key that is not retired.
   * @param fetchKey - gives the 32 raw bytes of a key; what it throws is passed on and nothing is kept
   * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` for a blob of another size
   */
  static async load(manifest: Manifest, fetchKey: (keyId: string) => Promise<SecretBytes>): Promise<Keyset> {
    const contextId = Buffer.from(manifest.contextId, 'hex');
    const keys = new Map<string, EnvelopeKey>();
    try {
      for (const { id, state } of manifest.keys) {
        if (state !== 'retired') keys.set(id, new EnvelopeKey({ key: await fetchKey(id), keyId: id, contextId }));
      }
    } catch (error) {
      for (const key of keys.values()) key.destroy();
      throw error;
    }
    return new Keyset(manifest, keys);
  }

  get primary(): EnvelopeKey {
    return this.#keys.get(this.manifest.primary)!;
  }

  /** @throws {@link KmsError} `ERR_KMS_UNKNOWN_KEY`, `ERR_KMS_KEY_RETIRED` */
  find(keyId: string): EnvelopeKey {
    const key = this.#keys.get(keyId);
    if (key) return key;
    if (this.manifest.keys.some((entry) => entry.id === keyId)) {
      throw new KmsError('ERR_KMS_KEY_RETIRED', `key ${keyId} was retired`);
    }
    throw new KmsError('ERR_KMS_UNKNOWN_KEY', `key ${keyId} is not in this keyset`);
  }

  /**
   * The key to seal with: the one that Status announced, if it is or was the primary, else the primary (design D1).
   */
  sealingKey(announcedKeyId: string | undefined): EnvelopeKey {
    if (announcedKeyId === undefined || announcedKeyId === this.manifest.primary) return this.primary;
    const announced = this.manifest.keys.find((entry) => entry.id === announcedKeyId);
    return announced?.state === 'promoted' ? this.find(announcedKeyId) : this.primary;
  }

  /** Wipes every key. */
  destroy(): void {
    for (const key of this.#keys.values()) key.destroy();
  }
}
