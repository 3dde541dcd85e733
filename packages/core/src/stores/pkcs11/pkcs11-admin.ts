import * as nodeFs from 'node:fs/promises';
import type { KeyTraits } from '../../keyset/manifest.ts';
import { KeysetDirectoryAdmin } from '../file/keyset-directory-admin.ts';

interface KeyMaker {
  /** @returns what the manifest must say of the key */
  generate(keyId: string, contextId: Buffer): Promise<KeyTraits>;
  traitsOf(keyId: string, contextId: Buffer): Promise<KeyTraits>;
  destroy(keyId: string): Promise<void>;
}

/** Makes and destroys keys in the token. The manifest is in a directory of the host (design D11, without blobs). */
export class Pkcs11Admin extends KeysetDirectoryAdmin {
  readonly #kek: KeyMaker;

  constructor(directory: string, kek: KeyMaker) {
    super(directory, nodeFs);
    this.#kek = kek;
  }

  override async createKey(keyId: string, contextId: Buffer): Promise<KeyTraits> {
    // First: where no manifest can be written, no key may be left in the token.
    await this.makeDirectory();
    return this.#kek.generate(keyId, contextId);
  }

  traitsOf(keyId: string, contextId: Buffer): Promise<KeyTraits> {
    return this.#kek.traitsOf(keyId, contextId);
  }

  override destroyKey(keyId: string): Promise<void> {
    return this.#kek.destroy(keyId);
  }
}
