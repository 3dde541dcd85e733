import { watch } from 'node:fs';
import * as nodeFs from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { KmsError } from '../errors.ts';
import type { KeysetProvider, KeysetSource } from '../keyset/keyset-source.ts';
import type { Remark } from '../remark.ts';
import { KeysetDirectoryAdmin } from './keyset-directory-admin.ts';
import { findLeftovers, loadKeysetDirectory } from './keyset-directory.ts';

const settings = z.strictObject({
  allowGroupRead: z
    .boolean()
    .default(false)
    .describe('accept key blobs that their group may read, as a mounted Secret with fsGroup has them'),
});

/** Changes come in bursts: one load some ms after the first of them. */
const DEBOUNCE_MS = 20;

/** `file:/directory`: a keyset on the host, or a Secret mounted as a volume (design D11). */
export const fileProvider: KeysetProvider<typeof settings> = {
  kind: 'keyset',
  scheme: 'file',
  settings,
  open: (uri, options) => openKeysetDirectory(uri, options),
};

/** @param fs - the file system, for tests that kill the writer between two steps */
export function openKeysetDirectory(
  uri: string,
  { allowGroupRead }: z.output<typeof settings>,
  fs: typeof nodeFs = nodeFs,
): KeysetSource {
  const directory = uri.replace(/^file:(\/\/(?=\/))?/, '');
  if (!isAbsolute(directory) || directory.startsWith('//') || directory.includes('\0') || directory.includes('?')) {
    throw new KmsError('ERR_KMS_INVALID_URI', `expected file:/absolute/directory, found ${JSON.stringify(uri)}`);
  }
  return {
    uri: `file:${directory}`,
    load: () => loadKeysetDirectory(directory, { allowGroupRead }),
    examine: () => examineDirectory(directory),
    watch: (onChange) => watchDirectory(directory, onChange),
    admin: new KeysetDirectoryAdmin(directory, fs),
  };
}

async function examineDirectory(directory: string): Promise<Remark[]> {
  // Where there is no manifest the load says so.
  const leftovers = await findLeftovers(directory).catch(() => []);
  return leftovers.map((text) => ({ level: 'hint', text, remedy: text }));
}

/** Watches by inotify; where that is not to be had (no directory yet, no watches left) the periodic load must do. */
export function watchDirectory(directory: string, onChange: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  try {
    const watcher = watch(directory, { persistent: false }, () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        onChange();
      }, DEBOUNCE_MS).unref();
    });
    watcher.on('error', () => watcher.close());
    return () => {
      clearTimeout(timer);
      watcher.close();
    };
  } catch {
    return () => undefined;
  }
}
