import { newKey } from '../../keyset/blob.ts';
import type { KeysetAdmin, ManifestRevision } from '../../keyset/keyset-source.ts';
import type { KeyTraits, Manifest } from '../../keyset/manifest.ts';
import type { Owner } from '../../util/durable-directory.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import type { BarbicanClient } from './client.ts';
import { readKeyOf } from './key-secret.ts';

/** Where the manifest is: a directory of this host, or Barbican. */
export interface ManifestStore extends Pick<KeysetAdmin, 'writeManifest' | 'ownedBy'> {
  readManifest(signal?: AbortSignal): Promise<ManifestRevision | undefined>;
  makeDirectory?(): Promise<void>;
}

/** Keys as secrets of 32 random bytes. The manifest has their UUIDs; their names, `teapot-kms-` and the key's id, are for people. */
export class BarbicanAdmin implements KeysetAdmin {
  readonly #client: BarbicanClient;
  readonly #manifests: ManifestStore;

  constructor(client: BarbicanClient, manifests: ManifestStore) {
    this.#client = client;
    this.#manifests = manifests;
  }

  ownedBy(owner: Owner): void {
    this.#manifests.ownedBy?.(owner);
  }

  readManifest(signal?: AbortSignal): Promise<ManifestRevision | undefined> {
    return this.#manifests.readManifest(signal);
  }

  writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    return this.#manifests.writeManifest(manifest, revision);
  }

  async createKey(keyId: string, contextId: Buffer, given?: SecretBytes): Promise<KeyTraits> {
    // First: where no manifest can be written, no key may be left in Barbican.
    await this.#manifests.makeDirectory?.();
    const { key, traits } = newKey(keyId, contextId, given);
    try {
      const secret = await this.#client.create(`teapot-kms-${keyId}`, key.expose(), this.#client.deadline());
      return { ...traits, secret };
    } finally {
      key.wipe();
    }
  }

  readKey(keyId: string, { secret }: KeyTraits): Promise<SecretBytes> {
    return readKeyOf(this.#client, keyId, secret, this.#client.deadline());
  }

  async destroyKey(_keyId: string, { secret }: KeyTraits): Promise<void> {
    if (secret !== undefined) await this.#client.delete(secret, this.#client.deadline());
  }
}
