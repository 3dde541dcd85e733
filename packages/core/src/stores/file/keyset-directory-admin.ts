import { join } from 'node:path';
import { KmsError } from '../../errors.ts';
import { newKey } from '../../keyset/blob.ts';
import type { KeysetAdmin } from '../../keyset/keyset-source.ts';
import { blobName } from '../../keyset/manifest.ts';
import type { KeyTraits } from '../../keyset/manifest.ts';
import { unlessMissing } from '../../util/file-lock.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import { isMissing, ownersOf, readBlob } from './keyset-directory.ts';
import { ManifestDirectory, onDisk } from './manifest-directory.ts';

/** Writes a keyset directory: each file durably, blobs first, the manifest last (design D11). */
export class KeysetDirectoryAdmin extends ManifestDirectory implements KeysetAdmin {
  createKey(keyId: string, contextId: Buffer, given?: SecretBytes): Promise<KeyTraits> {
    return onDisk(async () => {
      await this.directory.make();
      await this.requireOwnManifest();
      const { key, traits } = newKey(keyId, contextId, given);
      try {
        // It may be another key under a wrong name, and the last copy of that.
        if (given) await this.directory.keep(blobName(keyId), 'damaged');
        await this.directory.write(blobName(keyId), key.expose(), 0o600);
      } finally {
        key.wipe();
      }
      return traits;
    });
  }

  /** A copy for a backup: a blob that its group can read does no harm there. */
  readKey(keyId: string): Promise<SecretBytes> {
    const path = join(this.path, blobName(keyId));
    return onDisk(async () => {
      try {
        return await readBlob(path, { allowGroupRead: true, owners: await ownersOf(this.path) });
      } catch (error) {
        if (!isMissing(error)) throw error;
        throw new KmsError('ERR_KMS_KEYSET_INVALID', `${path}: no such file`, { cause: error });
      }
    });
  }

  async orphans(): Promise<readonly string[]> {
    const names = await onDisk(() => unlessMissing(this.directory.names()));
    return (names ?? []).filter((name) => name.endsWith('.key')).map((name) => join(this.path, name));
  }

  destroyKey(keyId: string): Promise<void> {
    return onDisk(() => this.directory.remove(blobName(keyId)));
  }
}
