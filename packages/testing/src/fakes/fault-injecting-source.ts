import { formatManifest, keysetConflict, newKey, parseManifest } from '@teapot-kms/core/internal';
import type { KeyTraits } from '@teapot-kms/core/internal';
import { Keyset, KmsError, SecretBytes } from '@teapot-kms/core';
import type { KeysetAdmin, KeysetSource, LoadContext, Manifest, ManifestRevision } from '@teapot-kms/core';
import { Faults } from './faults.ts';

/** A keyset in memory: what all sources of it, on all replicas, have in common. */
export class FakeKeysetStore implements KeysetAdmin {
  /** As it would stand in a file. */
  manifestText: string | undefined;
  readonly watchers = new Set<() => void>();
  readonly #blobs = new Map<string, Buffer>();
  #revision = 0;

  readManifest(): Promise<ManifestRevision | undefined> {
    return settled(() => {
      const text = this.manifestText;
      if (text === undefined) return undefined;
      return { manifest: parseManifest(text, 'fake:keyset'), revision: String(this.#revision), text };
    });
  }

  createKey(keyId: string, contextId: Buffer, given?: SecretBytes): Promise<KeyTraits> {
    return settled(() => {
      const { key, traits } = newKey(keyId, contextId, given);
      this.#blobs.set(keyId, key.expose());
      return traits;
    });
  }

  readKey(keyId: string): Promise<SecretBytes> {
    return settled(() => {
      const blob = this.#blobs.get(keyId);
      if (!blob) throw new KmsError('ERR_KMS_KEYSET_INVALID', `the blob of ${keyId} is missing`);
      return new SecretBytes(Buffer.from(blob));
    });
  }

  writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    return settled(() => {
      const current = this.manifestText === undefined ? undefined : String(this.#revision);
      if (revision !== current) throw keysetConflict();
      this.replaceManifest(formatManifest(manifest));
    });
  }

  destroyKey(keyId: string): Promise<void> {
    return settled(() => {
      this.#blobs.get(keyId)?.fill(0);
      this.#blobs.delete(keyId);
    });
  }

  /** Puts any bytes in the place of a key, past all rules; none at all take it away. */
  putBlob(keyId: string, bytes: Buffer | undefined): void {
    if (bytes) this.#blobs.set(keyId, bytes);
    else this.#blobs.delete(keyId);
  }

  /** A copy of a key's bytes. */
  readBlob(keyId: string): Buffer | undefined {
    const blob = this.#blobs.get(keyId);
    return blob && Buffer.from(blob);
  }

  /** Writes any text in the manifest's place, past all rules, and tells the watchers. */
  replaceManifest(text: string | undefined): void {
    this.manifestText = text;
    this.#revision++;
    for (const onChange of this.watchers) onChange();
  }

  /** @throws {@link KmsError} as {@link KeysetSource.load} does */
  load(context: LoadContext): Promise<Keyset> {
    const text = this.manifestText;
    if (text === undefined) throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'there is no keyset');
    return Keyset.load(context, parseManifest(text, 'fake:keyset'), (keyId) => this.readKey(keyId));
  }
}

/** A {@link KeysetSource} over a keyset in memory whose loads fail, hang and take as long as a test wants. */
export class FaultInjectingSource implements KeysetSource {
  readonly uri = 'fake:keyset';
  readonly admin: FakeKeysetStore;
  readonly loading = new Faults();
  /** Every keyset that was given out, to see whether it was destroyed. */
  readonly givenOut: Keyset[] = [];

  constructor(store = new FakeKeysetStore()) {
    this.admin = store;
  }

  load(context: LoadContext): Promise<Keyset> {
    return this.loading.around(context.signal, async () => {
      const keyset = await this.admin.load(context);
      this.givenOut.push(keyset);
      return keyset;
    });
  }

  watch(onChange: () => void): () => void {
    this.admin.watchers.add(onChange);
    return () => this.admin.watchers.delete(onChange);
  }
}

async function settled<T>(work: () => T): Promise<T> {
  await Promise.resolve();
  return work();
}
