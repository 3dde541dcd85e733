import * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { newKey } from '../../keyset/blob.ts';
import type { KeysetAdmin } from '../../keyset/keyset-source.ts';
import { MANIFEST_NAME } from '../../keyset/manifest.ts';
import type { KeyTraits, Manifest, StoredManifest } from '../../keyset/manifest.ts';
import type { Clock } from '../../util/clock.ts';
import { KeysetDirectoryAdmin } from '../file/keyset-directory-admin.ts';
import type { BarbicanClient } from './client.ts';

export interface ManifestRevision {
  readonly manifest: StoredManifest;
  readonly revision: string;
}

/** Keys as secrets of 32 random bytes. The manifest has their UUIDs; their names, `teapot-kms-` and the key's id, are for people. */
export abstract class BarbicanAdmin implements KeysetAdmin {
  /** The place of the manifest, for people. */
  abstract readonly where: string;
  readonly client: BarbicanClient;

  constructor(client: BarbicanClient) {
    this.client = client;
  }

  abstract readManifest(signal?: AbortSignal): Promise<ManifestRevision | undefined>;

  abstract writeManifest(manifest: Manifest, revision: string | undefined): Promise<void>;

  async createKey(keyId: string, contextId: Buffer): Promise<KeyTraits> {
    const { key, traits } = newKey(keyId, contextId);
    try {
      const secret = await this.client.create(`teapot-kms-${keyId}`, key.expose(), this.client.deadline());
      return { ...traits, secret };
    } finally {
      key.wipe();
    }
  }

  async destroyKey(_keyId: string, { secret }: KeyTraits): Promise<void> {
    if (secret !== undefined) await this.client.delete(secret, this.client.deadline());
  }
}

/** The manifest is `keyset.yaml` in a directory of this host, as in a `file:` keyset but without blobs beside it. */
export class ManifestOnHost extends BarbicanAdmin {
  readonly where: string;
  readonly #directory: KeysetDirectoryAdmin;

  constructor(client: BarbicanClient, directory: string, clock: Clock) {
    super(client);
    this.where = join(directory, MANIFEST_NAME);
    this.#directory = new KeysetDirectoryAdmin(directory, nodeFs, clock);
  }

  readManifest(): Promise<ManifestRevision | undefined> {
    return this.#directory.readManifest();
  }

  async writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    await this.#directory.makeDirectory();
    await this.#directory.writeManifest(manifest, revision);
  }
}
