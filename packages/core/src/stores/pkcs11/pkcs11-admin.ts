import * as nodeFs from 'node:fs/promises';
import type { KeysetAdmin } from '../../keyset/keyset-source.ts';
import type { KeyTraits } from '../../keyset/manifest.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import { ManifestDirectory } from '../file/manifest-directory.ts';

interface KeyMaker {
  /** @returns what the manifest must say of the key */
  generate(keyId: string, contextId: Buffer, key: SecretBytes | undefined): Promise<KeyTraits>;
  holdsKey(keyId: string): Promise<boolean>;
  /** @returns names, for people, of all keys in the token that this keyset could have made */
  candidates(): Promise<readonly string[]>;
  traitsOf(keyId: string, contextId: Buffer): Promise<KeyTraits>;
  destroy(keyId: string): Promise<void>;
}

/** Makes and destroys keys in the token. The manifest is in a directory of the host (design D11, without blobs). */
export class Pkcs11Admin extends ManifestDirectory implements KeysetAdmin {
  readonly #kek: KeyMaker;

  constructor(directory: string, kek: KeyMaker) {
    super(directory, nodeFs);
    this.#kek = kek;
  }

  async createKey(keyId: string, contextId: Buffer, key?: SecretBytes): Promise<KeyTraits> {
    // First: where no manifest can be written, no key may be left in the token.
    await this.makeDirectory();
    return this.#kek.generate(keyId, contextId, key);
  }

  orphans(): Promise<readonly string[]> {
    return this.#kek.candidates();
  }

  holdsKey(keyId: string): Promise<boolean> {
    return this.#kek.holdsKey(keyId);
  }

  traitsOf(keyId: string, contextId: Buffer): Promise<KeyTraits> {
    return this.#kek.traitsOf(keyId, contextId);
  }

  destroyKey(keyId: string): Promise<void> {
    return this.#kek.destroy(keyId);
  }
}
