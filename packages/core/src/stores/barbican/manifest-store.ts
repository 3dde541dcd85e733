import * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { MANIFEST_NAME } from '../../keyset/manifest.ts';
import type { Manifest } from '../../keyset/manifest.ts';
import { KeysetDirectoryAdmin } from '../file/keyset-directory-admin.ts';

export interface StoredManifest {
  readonly manifest: Manifest;
  readonly revision: string;
}

/** Where the manifest of a Barbican keyset lies. */
export interface ManifestStore {
  /** For a person. */
  readonly where: string;
  /** `undefined` where there is none yet. @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, `ERR_KMS_KEYSET_INVALID` */
  read(signal: AbortSignal): Promise<StoredManifest | undefined>;
  /** @throws {@link KmsError} `ERR_KMS_KEYSET_CONFLICT` where `revision` is not the current one any more */
  write(manifest: Manifest, revision: string | undefined, signal: AbortSignal): Promise<void>;
}

/** `keyset.yaml` in a directory of this host, as a `file:` keyset has it, without blobs beside it. */
export class ManifestOnHost implements ManifestStore {
  readonly where: string;
  readonly #admin: KeysetDirectoryAdmin;

  constructor(directory: string) {
    this.where = join(directory, MANIFEST_NAME);
    this.#admin = new KeysetDirectoryAdmin(directory, nodeFs);
  }

  read(): Promise<StoredManifest | undefined> {
    return this.#admin.readManifest();
  }

  async write(manifest: Manifest, revision: string | undefined): Promise<void> {
    await this.#admin.makeDirectory();
    await this.#admin.writeManifest(manifest, revision);
  }
}
