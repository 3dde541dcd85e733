import { KmsError } from '../../errors.ts';
import { KeyProof } from '../../keyset/key-proof.ts';
import type { ManifestEntry } from '../../keyset/manifest.ts';
import { RESTORE_IN_TOKEN } from '../../keyset/restoring.ts';
import type { RemoteKek, RemoteKekDescription } from './remote-kek.ts';

/**
 * Shows by their check keys that the keys in a token are those that the manifest lists (`docs/spec/keyset-v2.md` §5.2). Unwrapping a check
 * key is an operation of the token, so each key is tested once.
 */
export class TokenProofs {
  readonly #remote: RemoteKek;
  readonly #proofs = new Map<string, KeyProof>();

  constructor(remote: RemoteKek) {
    this.#remote = remote;
  }

  /** What proves that this process reaches a key, by key id. Only keys that have been tested. */
  get proofs(): ReadonlyMap<string, KeyProof> {
    return this.#proofs;
  }

  /**
   * @param sealing - whether the primary is about to wrap: then it is tested again, because the token may have been exchanged
   * @returns the keys that are others than the manifest lists, with the reason
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` if the token cannot be asked
   */
  async verify(
    { manifest, keys, contextId, primary }: RemoteKekDescription,
    sealing: boolean,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, KmsError>> {
    const wrong = new Map<string, KmsError>();
    const used = new Set(keys.map(({ id }) => id));
    for (const entry of manifest?.keys ?? []) {
      const { id, check, checkKey } = entry;
      if (check === undefined || checkKey === undefined || !used.has(id)) continue;
      const again = sealing && id === primary;
      if (!again && this.#proofs.get(id)?.matches(check)) continue;
      const proof = await this.#prove(entry, Buffer.from(checkKey, 'base64'), contextId, signal);
      if (proof?.matches(check)) this.#keep(id, proof);
      else {
        proof?.destroy();
        wrong.set(id, notTheKey(id));
      }
    }
    return wrong;
  }

  destroy(): void {
    for (const proof of this.#proofs.values()) proof.destroy();
    this.#proofs.clear();
  }

  /** @returns `undefined` if the token refuses to unwrap the check key */
  async #prove(
    { id }: ManifestEntry,
    checkKey: Buffer,
    contextId: Buffer,
    signal: AbortSignal,
  ): Promise<KeyProof | undefined> {
    try {
      const key = await this.#remote.unwrap(id, checkKey, { signal });
      try {
        return new KeyProof(key, contextId, id);
      } finally {
        key.wipe();
      }
    } catch (error) {
      if (error instanceof KmsError && error.code === 'ERR_KMS_UNWRAP_FAILED') return undefined;
      throw error;
    }
  }

  #keep(id: string, proof: KeyProof): void {
    this.#proofs.get(id)?.destroy();
    this.#proofs.set(id, proof);
  }
}

function notTheKey(id: string): KmsError {
  const message = `the token has another key under the id ${id} than the manifest lists`;
  return new KmsError('ERR_KMS_KEYSET_INVALID', message, { remedy: RESTORE_IN_TOKEN });
}
