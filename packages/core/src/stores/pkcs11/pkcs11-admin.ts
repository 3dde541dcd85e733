import * as nodeFs from 'node:fs/promises';
import type { KeyLocation } from '../../keyset/manifest.ts';
import { KeysetDirectoryAdmin } from '../file/keyset-directory-admin.ts';

interface KeyMaker {
  generate(keyId: string): Promise<void>;
  destroy(keyId: string): Promise<void>;
}

/** Makes and destroys keys in the token. The manifest is in a directory of the host (design D11, without blobs). */
export class Pkcs11Admin extends KeysetDirectoryAdmin {
  readonly #kek: KeyMaker;

  constructor(directory: string, kek: KeyMaker) {
    super(directory, nodeFs);
    this.#kek = kek;
  }

  override async createKey(keyId: string): Promise<KeyLocation> {
    // First: where no manifest can be written, no key may be left in the token.
    await this.makeDirectory();
    await this.#kek.generate(keyId);
    return {};
  }

  override destroyKey(keyId: string): Promise<void> {
    return this.#kek.destroy(keyId);
  }
}
