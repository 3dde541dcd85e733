import { createHash } from 'node:crypto';
import type * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { KmsError } from '../../errors.ts';
import { keysetConflict } from '../../keyset/keyset-source.ts';
import type { ManifestRevision } from '../../keyset/keyset-source.ts';
import { MANIFEST_NAME, MAX_MANIFEST_BYTES, parseManifest, writableManifest } from '../../keyset/manifest.ts';
import type { Manifest } from '../../keyset/manifest.ts';
import { systemClock } from '../../util/clock.ts';
import type { Clock } from '../../util/clock.ts';
import { DurableDirectory } from '../../util/durable-directory.ts';
import type { Owner } from '../../util/durable-directory.ts';
import { requireTrusted } from './keyset-directory.ts';
import { safeText } from '../../util/safe-text.ts';
import { shellWord } from '../../util/shell-word.ts';
import { withFileLock } from '../../util/file-lock.ts';

const LOCK_NAME = '.lock';

/**
 * A manifest in a directory of the host: beside its keys (`file:`), or alone, of keys that are elsewhere. A crash at any point leaves the old or
 * the new one (design D11).
 */
export class ManifestDirectory {
  readonly path: string;
  protected readonly directory: DurableDirectory;
  readonly #fs: typeof nodeFs;
  readonly #clock: Clock;

  constructor(path: string, fs: typeof nodeFs, clock = systemClock) {
    this.path = path;
    this.#fs = fs;
    this.#clock = clock;
    this.directory = new DurableDirectory(path, fs);
  }

  ownedBy(owner: Owner): void {
    this.directory.owner = owner;
  }

  async readManifest(): Promise<ManifestRevision | undefined> {
    const text = await onDisk(() => this.directory.read(MANIFEST_NAME, MAX_MANIFEST_BYTES));
    if (text === undefined) return undefined;
    await requireTrusted(join(this.path, MANIFEST_NAME));
    return { manifest: parseManifest(text, join(this.path, MANIFEST_NAME)), revision: revisionOf(text), text };
  }

  /** @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` where the manifest is a link: the new one would take the place of the link */
  protected async requireOwnManifest(): Promise<void> {
    const path = join(this.path, MANIFEST_NAME);
    const target = await this.#fs.readlink(path).catch(() => undefined);
    if (target === undefined) return;
    const remedy = `change the keyset where ${target} is, or replace the link by the file`;
    throw new KmsError('ERR_KMS_KEYSET_RULE', `${path} is a symbolic link to ${safeText(target, 200)}`, { remedy });
  }

  /** Creates the directory. */
  makeDirectory(): Promise<void> {
    return onDisk(() => this.directory.make());
  }

  writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    return onDisk(async () => {
      // A copy of a manifest comes back where its directory is gone.
      await this.directory.make();
      await this.#locked(async () => {
        await this.requireOwnManifest();
        const text = await this.directory.read(MANIFEST_NAME, MAX_MANIFEST_BYTES);
        if ((text === undefined ? undefined : revisionOf(text)) !== revision) {
          throw keysetConflict();
        }
        await this.directory.write(MANIFEST_NAME, Buffer.from(writableManifest(manifest)), 0o644);
      });
    });
  }

  /** Lets one writer in at a time. The manifest's revision catches the small race at the takeover of a lock. */
  #locked<T>(work: () => Promise<T>): Promise<T> {
    const path = join(this.path, LOCK_NAME);
    const busy = (pid: string) => {
      const remedy = `wait for it and try again; if there is no such process, remove ${shellWord(path)}*`;
      return new KmsError('ERR_KMS_KEYSET_CONFLICT', `process ${pid} is changing this keyset`, { remedy });
    };
    return withFileLock(path, { fs: this.#fs, clock: this.#clock, waitMs: 0, busy }, work);
  }
}

/** Runs `work`, and makes a {@link KmsError} of what the file system throws. */
export async function onDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
  }
}

const revisionOf = (text: string): string => createHash('sha256').update(text).digest('hex');
