import { packTar } from 'modern-tar';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { sourceDateEpoch } from '../release.ts';

/** What a layer contains at a path: a file, a symbolic link, or a directory. */
export interface Entry {
  /** Without a slash in front, as `usr/bin/teapot-kms`. */
  readonly path: string;
  readonly mode: number;
  /** User and group, 0 by default. */
  readonly owner?: number;
  readonly content?: Uint8Array;
  readonly target?: string;
}

/** A blob of an image, and the digest of what it unpacks to. */
export interface Layer {
  readonly blob: Buffer;
  readonly diffId: string;
}

const MAX_GZIP_BYTES = 256 * 1024 * 1024;

export const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** A tar archive with the time of the release. The same entries give the same bytes. */
export function tarOf(entries: readonly Entry[]): Promise<Uint8Array> {
  const mtime = new Date(Number(sourceDateEpoch()) * 1_000);
  return packTar(
    entries.map(({ path, mode, owner = 0, content, target }) => {
      const common = { name: path, mode, mtime, uid: owner, gid: owner, size: content?.length ?? 0 };
      if (target !== undefined) return { header: { ...common, type: 'symlink', linkname: target } };
      if (content) return { header: { ...common, type: 'file' }, body: content };
      return { header: { ...common, name: `${path}/`, type: 'directory' } };
    }),
  );
}

/** Makes a layer. Directories above an entry that are not entries themselves get the mode 0755. */
export async function layerOf(entries: readonly Entry[]): Promise<Layer> {
  const given = new Map(entries.map((entry) => [entry.path, entry]));
  for (const path of [...given.keys()]) {
    const parts = path.split('/');
    for (let count = 1; count < parts.length; count++) {
      const parent = parts.slice(0, count).join('/');
      if (!given.has(parent)) given.set(parent, { path: parent, mode: 0o755 });
    }
  }
  const tar = await tarOf([...given.values()].sort((a, b) => (a.path < b.path ? -1 : 1)));
  // Not zlib of Node: its output may depend on the processor.
  const blob = execFileSync('gzip', ['-6n'], {
    input: tar,
    maxBuffer: MAX_GZIP_BYTES,
    env: { PATH: process.env['PATH'] },
  });
  return { blob, diffId: digestOf(tar) };
}

/** The content of a directory, as entries below `prefix`, with modes that do not depend on the umask. */
export function entriesIn(directory: string, prefix = ''): Entry[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((found): Entry[] => {
    const from = join(directory, found.name);
    const path = join(prefix, found.name);
    if (found.isSymbolicLink()) return [{ path, mode: 0o777, target: readlinkSync(from) }];
    const { mode } = lstatSync(from);
    if (found.isDirectory()) return [{ path, mode: (mode & 0o1000) === 0 ? 0o755 : 0o1777 }, ...entriesIn(from, path)];
    return [{ path, mode: (mode & 0o100) === 0 ? 0o644 : 0o755, content: readFileSync(from) }];
  });
}
