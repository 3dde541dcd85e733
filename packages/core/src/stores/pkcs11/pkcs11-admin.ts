import * as nodeFs from 'node:fs/promises';
import type { KeyLocation } from '../../keyset/manifest.ts';
import { KeysetDirectoryAdmin } from '../file/keyset-directory-admin.ts';

/** Where the keys are. */
interface KeyMaker {
  generate(keyId: string): Promise<void>;
  destroy(keyId: string): Promise<void>;
}

/** Keys are made and destroyed in the token; which there are is in a manifest on the host (design D11, without blobs). */
export class Pkcs11Admin extends KeysetDirectoryAdmin {
  readonly #kek: KeyMaker;

  constructor(directory: string, kek: KeyMaker) {
    super(directory, nodeFs);
    this.#kek = kek;
  }

  override async createKey(keyId: string): Promise<KeyLocation> {
    // Before the key: one that no manifest can ever list would be left in the token.
    await this.makeDirectory();
    await this.#kek.generate(keyId);
    return {};
  }

  override destroyKey(keyId: string): Promise<void> {
    return this.#kek.destroy(keyId);
  }
}
