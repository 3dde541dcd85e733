import * as nodeFs from 'node:fs/promises';
import * as z from 'zod';
import { KmsError } from '../../errors.ts';
import { directoryOfUri, uriOfDirectory } from '../../util/directory-uri.ts';
import { shownUri } from '../../util/shown-uri.ts';
import { systemClock } from '../../util/clock.ts';
import type { Clock } from '../../util/clock.ts';
import type { KeysetProvider, KeysetSource } from '../../keyset/keyset-source.ts';
import { keepUnlisted } from '../../keyset/restoring.ts';
import type { Finding } from '../../finding.ts';
import { KeysetDirectoryAdmin } from './keyset-directory-admin.ts';
import { findLeftovers, loadKeysetDirectory } from './keyset-directory.ts';
import { watchDirectory } from './watch-directory.ts';

const settings = z.strictObject({
  allowGroupRead: z
    .boolean()
    .default(false)
    .describe('accept key files that their group can read, as in a mounted Secret with fsGroup'),
});

/** `file:/directory`: a keyset on the host, or a Secret mounted as a volume (design D11). */
export const fileProvider: KeysetProvider<typeof settings> = {
  kind: 'keyset',
  scheme: 'file',
  settings,
  check: (uri) => void directoryOf(uri),
  open: (uri, options, { clock }) => openKeysetDirectory(uri, options, { clock }),
};

/** @throws {@link KmsError} `ERR_KMS_INVALID_URI` */
function directoryOf(uri: string): string {
  const directory = directoryOfUri(uri);
  if (directory === undefined) {
    throw new KmsError('ERR_KMS_INVALID_URI', `expected file:/absolute/directory, found ${shownUri(uri)}`);
  }
  return directory;
}

/** @param fs - the file system. Tests kill the writer between two steps */
export function openKeysetDirectory(
  uri: string,
  { allowGroupRead }: z.output<typeof settings>,
  { fs = nodeFs, clock = systemClock }: { fs?: typeof nodeFs; clock?: Clock } = {},
): KeysetSource {
  const directory = directoryOf(uri);
  return {
    uri: uriOfDirectory('file', directory),
    load: (context) => loadKeysetDirectory(directory, { allowGroupRead }, context),
    examine: () => examineDirectory(directory),
    watch: (onChange) => watchDirectory(directory, onChange, clock),
    admin: new KeysetDirectoryAdmin(directory, fs, clock),
  };
}

async function examineDirectory(directory: string): Promise<Finding[]> {
  // Without a manifest, the load reports that.
  const leftovers = await findLeftovers(directory).catch(() => []);
  return leftovers.map((path) => ({
    level: 'hint',
    text: `${path} is a key that no manifest lists`,
    remedy: keepUnlisted(path),
  }));
}
