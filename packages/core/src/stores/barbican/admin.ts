import { randomBytes } from 'node:crypto';
import { KEY_BYTES } from '../../envelope/limits.ts';
import type { KeysetAdmin } from '../../keyset/keyset-source.ts';
import type { KeyLocation, Manifest } from '../../keyset/manifest.ts';
import type { BarbicanClient } from './client.ts';
import type { ManifestStore, StoredManifest } from './manifest-store.ts';

/** ms that one change may take. */
const TIMEOUT_MS = 60_000;

/** Keys as secrets of 32 random bytes, named `teapot-kms-` and the key's id for people; the manifest says which UUID each has. */
export class BarbicanAdmin implements KeysetAdmin {
  readonly #client: BarbicanClient;
  readonly #manifests: ManifestStore;

  constructor(client: BarbicanClient, manifests: ManifestStore) {
    this.#client = client;
    this.#manifests = manifests;
  }

  readManifest(): Promise<StoredManifest | undefined> {
    return this.#manifests.read(AbortSignal.timeout(TIMEOUT_MS));
  }

  async createKey(keyId: string): Promise<KeyLocation> {
    const key = randomBytes(KEY_BYTES);
    try {
      return { secret: await this.#client.create(`teapot-kms-${keyId}`, key, AbortSignal.timeout(TIMEOUT_MS)) };
    } finally {
      key.fill(0);
    }
  }

  writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    return this.#manifests.write(manifest, revision, AbortSignal.timeout(TIMEOUT_MS));
  }

  async destroyKey(_keyId: string, { secret }: KeyLocation): Promise<void> {
    if (secret !== undefined) await this.#client.delete(secret, AbortSignal.timeout(TIMEOUT_MS));
  }
}
