import * as nodeFs from 'node:fs/promises';
import { KmsError } from '../../errors.ts';
import type { KeysetAdmin } from '../../keyset/keyset-source.ts';
import type { KeyTraits } from '../../keyset/manifest.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import { ManifestDirectory } from '../file/manifest-directory.ts';

interface KeyMaker {
  generate(keyId: string, key: SecretBytes | undefined): Promise<void>;
  readonly uri: string;
  /** @returns the ids of all keys in the token that this keyset could have made */
  keyIds(): Promise<readonly string[]>;
  /** @returns what the manifest must say of the key */
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
    await this.#kek.generate(keyId, key);
    try {
      // A key that cannot wrap must not get into a keyset.
      return await this.#kek.traitsOf(keyId, contextId);
    } catch (error) {
      throw await this.#unmade(keyId, error);
    }
  }

  /** Destroys a key that was just made: nothing is sealed under it. @returns the error, which says what became of the key */
  async #unmade(keyId: string, error: unknown): Promise<KmsError> {
    const { code, message, remedy } = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
    const fate = await this.#kek.destroy(keyId).then(
      () => 'was destroyed again',
      (failure: unknown) => `stays in the token, and no manifest lists it: ${(failure as Error).message}`,
    );
    return new KmsError(code, `${message.replace(/\.$/, '')}. The new key ${keyId} ${fate}`, { cause: error, remedy });
  }

  async orphans(): Promise<readonly string[]> {
    return (await this.#kek.keyIds()).map((id) => `${id} in the token (${this.#kek.uri})`);
  }

  async holdsKey(keyId: string): Promise<boolean> {
    return (await this.#kek.keyIds()).includes(keyId);
  }

  traitsOf(keyId: string, contextId: Buffer): Promise<KeyTraits> {
    return this.#kek.traitsOf(keyId, contextId);
  }

  destroyKey(keyId: string): Promise<void> {
    return this.#kek.destroy(keyId);
  }
}
