import { newDirectory } from '@teapot-kms/testing';
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EnvelopeKey } from '../../src/envelope/envelope.ts';
import { generateKey } from '../../src/keyset/administration.ts';
import type { KeysetSource } from '../../src/keyset/keyset-source.ts';
import type { Manifest } from '../../src/keyset/manifest.ts';
import { formatManifest } from '../../src/keyset/manifest.ts';
import { openKeysetDirectory } from '../../src/stores/file/index.ts';
import { patient } from './context.ts';

export const open = (directory: string, allowGroupRead = false): KeysetSource =>
  openKeysetDirectory(`file:${directory}`, { allowGroupRead });

/** @throws the reason why the primary could not be loaded */
export const primaryOf = async (source: KeysetSource): Promise<EnvelopeKey> => (await source.load(patient)).primary;

/** Writes a file with exactly this mode, whatever the umask. */
export function writeWithMode(path: string, bytes: Buffer | string, mode: number): void {
  writeFileSync(path, bytes);
  chmodSync(path, mode);
}

export interface SecretContent {
  readonly manifest: Manifest;
  readonly keys: Readonly<Record<string, Buffer>>;
}

/** A Secret as the kubelet mounts it: each name a link through `..data`, which is swapped as a whole. */
export class MountedSecret {
  readonly directory = newDirectory();
  #version = 0;

  constructor(content: SecretContent, mode = 0o400) {
    this.#write(content, mode);
    for (const name of this.#names(content)) symlinkSync(`..data/${name}`, join(this.directory, name));
  }

  /** As the kubelet does it: the new version is written, `..data` renamed over, the old version removed. */
  swap(content: SecretContent, mode = 0o400): void {
    const old = join(this.directory, `..${String(this.#version)}`);
    this.#write(content, mode);
    for (const name of this.#names(content)) {
      try {
        symlinkSync(`..data/${name}`, join(this.directory, name));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
    }
    rmSync(old, { recursive: true });
  }

  #names({ keys }: SecretContent): string[] {
    return ['keyset.yaml', ...Object.keys(keys).map((id) => `${id}.key`)];
  }

  #write({ manifest, keys }: SecretContent, mode: number): void {
    const name = `..${String(++this.#version)}`;
    mkdirSync(join(this.directory, name));
    writeWithMode(join(this.directory, name, 'keyset.yaml'), formatManifest(manifest), mode);
    for (const [id, key] of Object.entries(keys)) writeWithMode(join(this.directory, name, `${id}.key`), key, mode);
    symlinkSync(name, join(this.directory, '..data_tmp'));
    renameSync(join(this.directory, '..data_tmp'), join(this.directory, '..data'));
  }
}

/** A keyset directory with one key. */
export async function makeKeyset(): Promise<{ directory: string; blob: string; keyId: string }> {
  const directory = newDirectory();
  const { keyId } = await generateKey(open(directory).admin!);
  return { directory, blob: join(directory, `${keyId}.key`), keyId };
}
