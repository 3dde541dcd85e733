import type * as nodeFs from 'node:fs/promises';
import type { KeysetAdmin } from '../../keyset/keyset-source.ts';
import type { KeyPlace, Manifest } from '../../keyset/manifest.ts';
import { KeysetDirectoryAdmin } from '../keyset-directory-admin.ts';

/** Where the keys are. */
export interface KeyMaker {
  generate(keyId: string): Promise<void>;
  destroy(keyId: string): Promise<void>;
}

/** Keys are made and destroyed in the token; which there are is in a manifest on the host (design D11, without blobs). */
export class Pkcs11Admin implements KeysetAdmin {
  readonly #manifest: KeysetDirectoryAdmin;
  readonly #kek: KeyMaker;

  constructor(directory: string, kek: KeyMaker, fs: typeof nodeFs) {
    this.#manifest = new KeysetDirectoryAdmin(directory, fs);
    this.#kek = kek;
  }

  readManifest(): Promise<{ manifest: Manifest; revision: string } | undefined> {
    return this.#manifest.readManifest();
  }

  writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    return this.#manifest.writeManifest(manifest, revision);
  }

  async createKey(keyId: string): Promise<KeyPlace> {
    // Before the key: one that no manifest can ever list would be left in the token.
    await this.#manifest.makeDirectory();
    await this.#kek.generate(keyId);
    return {};
  }

  destroyKey(keyId: string): Promise<void> {
    return this.#kek.destroy(keyId);
  }
}
