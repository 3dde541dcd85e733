import { FakeKeysetStore, newDirectory } from '@teapot-kms/testing';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { KeysetAdmin, KeysetSource } from '../../src/keyset/keyset-source.ts';
import { blobName, MANIFEST_NAME } from '../../src/keyset/manifest.ts';
import { openKeysetDirectory } from '../../src/stores/file/index.ts';
import { writeWithMode } from './directories.ts';

/** The files of a keyset directory by name: what an operator copies, damages and loses. */
export type Files = ReadonlyMap<string, Buffer>;

export interface KeysetDirectory {
  readonly source: KeysetSource;
  readonly admin: KeysetAdmin;
  /** Copies of all files. Empty if the directory is lost. */
  files(): Files;
  /** Puts these files, and no others, in the directory. Without any, the directory is lost. */
  replace(files: Files): void;
}

const BLOB = /^(.+)\.key$/;

/** A keyset directory of a fake store: no system call, so that 10^5 sequences take minutes. */
export class MemoryDirectory implements KeysetDirectory {
  readonly admin = new FakeKeysetStore();
  readonly source: KeysetSource = {
    uri: 'fake:keyset',
    load: async (context) => this.admin.load(context),
    watch: () => () => undefined,
  };

  files(): Files {
    const { admin } = this;
    const blobs = admin.blobIds.map((id) => [blobName(id), admin.readBlob(id)!] as const);
    return new Map([...(admin.manifestText === undefined ? [] : [this.#manifest()]), ...blobs]);
  }

  replace(files: Files): void {
    for (const id of this.admin.blobIds) this.admin.putBlob(id, undefined);
    for (const [name, bytes] of files) {
      const id = BLOB.exec(name)?.[1];
      if (id !== undefined) this.admin.putBlob(id, Buffer.from(bytes));
    }
    this.admin.replaceManifest(files.get(MANIFEST_NAME)?.toString());
  }

  #manifest = () => [MANIFEST_NAME, Buffer.from(this.admin.manifestText!)] as const;
}

/** A real directory. */
export class DiskDirectory implements KeysetDirectory {
  readonly #path = join(newDirectory(), 'keys');
  readonly source = openKeysetDirectory(`file:${this.#path}`, { allowGroupRead: false });
  readonly admin = this.source.admin!;

  files(): Files {
    try {
      const names = readdirSync(this.#path).filter((name) => name === MANIFEST_NAME || BLOB.test(name));
      return new Map(names.map((name) => [name, readFileSync(join(this.#path, name))]));
    } catch {
      return new Map();
    }
  }

  replace(files: Files): void {
    rmSync(this.#path, { recursive: true, force: true });
    if (files.size === 0) return;
    mkdirSync(this.#path, { mode: 0o700 });
    for (const [name, bytes] of files) writeWithMode(join(this.#path, name), bytes, 0o600);
  }
}
