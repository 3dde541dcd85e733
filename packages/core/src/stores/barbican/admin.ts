import { randomBytes } from 'node:crypto';
import { KEY_BYTES } from '../../envelope/limits.ts';
import type { KeysetAdmin } from '../../keyset/keyset-source.ts';
import type { KeyLocation, Manifest } from '../../keyset/manifest.ts';
import type { BarbicanClient } from './client.ts';

export type StoredManifest = Awaited<ReturnType<KeysetAdmin['readManifest']>>;

/** Where the manifest is: a directory of this host, or Barbican. */
export interface ManifestStore extends Pick<KeysetAdmin, 'writeManifest'> {
  readManifest(signal?: AbortSignal): Promise<StoredManifest>;
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

  readManifest(signal?: AbortSignal): Promise<StoredManifest> {
    return this.#manifests.readManifest(signal);
  }

  writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    return this.#manifests.writeManifest(manifest, revision);
  }

  async createKey(keyId: string): Promise<KeyLocation> {
    // First: where no manifest can be written, no key may be left in Barbican.
    await this.#manifests.makeDirectory?.();
    const key = randomBytes(KEY_BYTES);
    try {
      return { secret: await this.#client.create(`teapot-kms-${keyId}`, key, this.#client.deadline()) };
    } finally {
      key.fill(0);
    }
  }

  async destroyKey(_keyId: string, { secret }: KeyLocation): Promise<void> {
    if (secret !== undefined) await this.#client.delete(secret, this.#client.deadline());
  }
}
