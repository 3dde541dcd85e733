import { join } from 'node:path';
import { KmsError, unavailable } from '../../errors.ts';
import { MANIFEST_NAME } from '../../keyset/manifest.ts';
import type { StoredManifest } from '../../keyset/manifest.ts';
import { MOUNT_OR_RESTORE, RESTORE_IN_TOKEN } from '../../keyset/restoring.ts';
import type { Damage } from '../../service/damage.ts';
import type { RemoteContext, UnlistedKey } from '../../service/local-kek/remote-kek.ts';
import { readManifest } from '../file/keyset-directory.ts';
import { publicKeyHash } from './token-host/rsa-oaep.ts';
import type { RsaPublicKey } from './token-host/rsa-oaep.ts';

interface Reading {
  readonly manifest: StoredManifest;
  /** Keys of earlier manifests. */
  readonly unlisted: readonly UnlistedKey[];
  readonly damaged?: Damage;
}

/** The keys of a token that the manifest on this host lists, or listed while this process ran: only these are used. */
export class ListedKeys {
  readonly #path: string;
  /** The last one that was read and accepted. */
  #manifest: StoredManifest | undefined;
  #unlisted: readonly UnlistedKey[] = [];

  /** @param directory - of the manifest */
  constructor(directory: string) {
    this.#path = join(directory, MANIFEST_NAME);
  }

  /**
   * Reads the manifest. One that is damaged, missing or not accepted takes away nothing that is known already.
   * @throws {@link KmsError} if nothing is known yet
   */
  async read(accept?: RemoteContext['accept']): Promise<Reading> {
    try {
      const manifest = await readManifest(this.#path);
      await accept?.(manifest);
      this.#unlisted = this.#unlistedBy(manifest);
      this.#manifest = manifest;
      return { manifest, unlisted: this.#unlisted };
    } catch (error) {
      const failure = this.#failure(error);
      if (!this.#manifest) throw failure;
      // It may list a key that is not known here yet.
      const damaged = { error: failure, answered: false, primary: false };
      return { manifest: this.#manifest, unlisted: this.#unlisted, damaged };
    }
  }

  /** Only the state `retired` takes a key out of use (`docs/spec/keyset-v2.md` §6). */
  #unlistedBy({ keys: listed }: StoredManifest): readonly UnlistedKey[] {
    const { keys = [], contextId = '' } = this.#manifest ?? {};
    const before = keys
      .filter(({ state }) => state !== 'retired')
      .map((entry) => ({ entry, contextId: Buffer.from(contextId, 'hex') }));
    return [...this.#unlisted, ...before].filter(({ entry }) => listed.every(({ id }) => id !== entry.id));
  }

  #failure(error: unknown): KmsError {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
    return unavailable(`${this.#path}: no such file`, { cause: error, remedy: MOUNT_OR_RESTORE });
  }

  /** @throws {@link KmsError} `ERR_KMS_UNKNOWN_KEY` for a key that is retired, or not listed; of those that were listed, some unwrap */
  async check(keyId: string, use: 'wrap' | 'unwrap'): Promise<void> {
    const manifest = this.#manifest ?? (await this.read()).manifest;
    const state = manifest.keys.find(({ id }) => id === keyId)?.state;
    const unwraps = use === 'unwrap' && this.#unlisted.some(({ entry }) => entry.id === keyId);
    if ((state === undefined || state === 'retired') && !unwraps) {
      throw new KmsError('ERR_KMS_UNKNOWN_KEY', `key ${keyId} is not in use in this keyset`);
    }
  }

  /**
   * Wrapping needs only the public key, so no unwrap would show that it is another one (`docs/spec/keyset-v2.md` §5.2).
   * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID`
   */
  checkPublicKey(keyId: string, publicKey: RsaPublicKey): void {
    const expected = this.#manifest?.keys.find(({ id }) => id === keyId)?.publicKey;
    if (expected === undefined || expected === publicKeyHash(publicKey)) return;
    const message = `the token has another RSA key under the id ${keyId} than the manifest lists`;
    throw new KmsError('ERR_KMS_KEYSET_INVALID', message, { remedy: RESTORE_IN_TOKEN });
  }
}
