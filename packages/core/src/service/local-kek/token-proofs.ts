import { KmsError } from '../../errors.ts';
import { KeyProof } from '../../keyset/key-proof.ts';
import { isLossOfOneKey } from '../../keyset/keyset.ts';
import type { ManifestEntry } from '../../keyset/manifest.ts';
import { RESTORE_IN_TOKEN } from '../../keyset/restoring.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import type { RemoteKek, RemoteKekDescription, UnlistedKey } from './remote-kek.ts';

/**
 * Shows by their check keys that the keys in a token are those that the manifest lists (`docs/spec/keyset-v2.md` §5.2). Unwrapping a check
 * key is an operation of the token, so each key is tested once. A pending one is tested at each probe, because a promotion depends on its proof.
 */
export class TokenProofs {
  readonly #remote: RemoteKek;
  readonly #proofs = new Map<string, KeyProof>();
  #pending: readonly string[] = [];

  constructor(remote: RemoteKek) {
    this.#remote = remote;
  }

  /** What proves that this process reaches a key, by key id. Only keys that have been tested. */
  get proofs(): ReadonlyMap<string, KeyProof> {
    return this.#proofs;
  }

  /** Whether a key may be used that no manifest lists any more: it was tested when one did, and has been there since. */
  keeps({ entry: { id, check } }: UnlistedKey): boolean {
    return check === undefined || this.#proofs.get(id)?.matches(check) === true;
  }

  /**
   * Tests the keys that were not tested yet, or must be again, and drops the proofs of those that the token does not have any more.
   * @param sealing - whether the primary is about to wrap: then it is tested again, because the token may have been exchanged
   * @returns the keys that are others than the manifest lists, with the reason
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` if the token cannot be asked
   */
  async verify(
    { manifest, keys, contextId, primary, missing = [], unlisted = [] }: RemoteKekDescription,
    sealing: boolean,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, KmsError>> {
    const wrong = new Map<string, KmsError>();
    const used = new Set(keys.map(({ id }) => id).filter((id) => !missing.includes(id)));
    this.#pending = keys.flatMap(({ id, state }) => (state === 'pending' ? [id] : []));
    const there = new Set([...used, ...unlisted.map(({ entry }) => entry.id)]);
    this.forget([...this.#proofs.keys()].filter((id) => !there.has(id)));
    for (const entry of manifest?.keys ?? []) {
      const { id, state, check, checkKey } = entry;
      if (check === undefined || checkKey === undefined || !used.has(id)) continue;
      const again = state === 'pending' || (sealing && id === primary);
      if (!again && this.#proofs.get(id)?.matches(check)) continue;
      try {
        this.#keep(id, await this.#prove(entry, check, Buffer.from(checkKey, 'base64'), contextId, signal));
      } catch (error) {
        if (!(error instanceof KmsError) || !isLossOfOneKey(error)) throw error;
        this.forget([id]);
        wrong.set(id, error);
      }
    }
    return wrong;
  }

  /** The token cannot be asked: what it holds may have changed when a key is promoted. */
  forgetPending(): void {
    this.forget(this.#pending);
  }

  forget(ids: readonly string[]): void {
    for (const id of ids) {
      this.#proofs.get(id)?.destroy();
      this.#proofs.delete(id);
    }
  }

  destroy(): void {
    this.forget([...this.#proofs.keys()]);
  }

  /** @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` if it is another key; as {@link RemoteKek.unwrap} */
  async #prove(
    { id }: ManifestEntry,
    check: string,
    checkKey: Buffer,
    contextId: Buffer,
    signal: AbortSignal,
  ): Promise<KeyProof> {
    const key = await this.#remote.unwrap(id, checkKey, { signal }).catch((error: unknown) => {
      throw error instanceof KmsError && error.code === 'ERR_KMS_UNWRAP_FAILED' ? notTheKey(id) : error;
    });
    const proof = proofOf(key, contextId, id);
    if (proof.matches(check)) return proof;
    proof.destroy();
    throw notTheKey(id);
  }

  #keep(id: string, proof: KeyProof): void {
    this.#proofs.get(id)?.destroy();
    this.#proofs.set(id, proof);
  }
}

function proofOf(key: SecretBytes, contextId: Buffer, id: string): KeyProof {
  try {
    return new KeyProof(key, contextId, id);
  } finally {
    key.wipe();
  }
}

function notTheKey(id: string): KmsError {
  const message = `the token has another key under the id ${id} than the manifest lists`;
  return new KmsError('ERR_KMS_KEYSET_INVALID', message, { remedy: RESTORE_IN_TOKEN });
}
