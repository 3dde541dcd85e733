import { accessSync, constants } from 'node:fs';
import { open, readdir, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { KEY_BYTES } from '../../envelope/limits.ts';
import { KmsError, unavailable } from '../../errors.ts';
import { wrongBlobSize } from '../../keyset/blob.ts';
import { Keyset } from '../../keyset/keyset.ts';
import type { LoadContext } from '../../keyset/keyset-source.ts';
import { blobName, MANIFEST_NAME, MAX_MANIFEST_BYTES, parseManifest } from '../../keyset/manifest.ts';
import type { StoredManifest } from '../../keyset/manifest.ts';
import { MOUNT_OR_RESTORE, RESTORE_KEYS, RESTORE_MANIFEST } from '../../keyset/restoring.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';
import { shellWord } from '../../util/shell-word.ts';
import { FileRefused, readSmallFile } from '../../util/small-file.ts';
import { distrustOfAsync } from '../../util/trusted-path.ts';

export interface DirectoryOptions {
  /** Accept blobs that their group may read. */
  readonly allowGroupRead: boolean;
}

/** Most tries of one load. The kubelet may swap a mounted Secret, and remove its old directory, during a load. */
const ATTEMPTS = 10;

/** Without O_NONBLOCK, opening a FIFO would block one of the threads that all instances share. */
const READ = constants.O_RDONLY | constants.O_NONBLOCK;

/**
 * Reads manifest and blobs (design D11). In a mounted Secret, each name is a symlink through `..data`, which the kubelet swaps as a whole. So
 * the real directory of the manifest is resolved once, and all files are read from there.
 *
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` if there is no manifest, `ERR_KMS_KEYSET_INVALID`, `ERR_KMS_KEYSET_PERMISSIONS`
 */
export async function loadKeysetDirectory(
  directory: string,
  options: DirectoryOptions,
  context: LoadContext,
): Promise<Keyset> {
  for (let attempt = 1; ; attempt++) {
    const manifestPath = join(directory, MANIFEST_NAME);
    let real: string | undefined;
    try {
      real = await realpath(manifestPath);
      const places = await placesOfBlobs(directory, dirname(real));
      const owners = await ownersOf(directory);
      const manifest = await readManifest(real, manifestPath);
      return await Keyset.load(context, manifest, async (keyId) => {
        const paths = places.map((place) => join(place, blobName(keyId)));
        try {
          return await firstThere(paths, (path) => readBlob(path, { ...options, owners }));
        } catch (error) {
          if (error instanceof KmsError || (await isSwapped(manifestPath, real))) throw error;
          throw lossOfOne(error, paths[0]!);
        }
      });
    } catch (error) {
      if (error instanceof KmsError) throw error;
      if (isMissing(error) && attempt < ATTEMPTS && (await isSwapped(manifestPath, real))) continue;
      throw fileError(error, manifestPath);
    }
  }
}

/** Where the blobs are: beside the manifest. Of a manifest that is a link to somewhere else, also beside that link. */
async function placesOfBlobs(directory: string, besideManifest: string): Promise<readonly string[]> {
  const own = await realpath(directory);
  const isInside = besideManifest === own || besideManifest.startsWith(`${own}/`);
  return isInside ? [besideManifest] : [besideManifest, own];
}

/** @throws what `read` throws for the last path, and for another one all but that it is missing */
async function firstThere<T>(paths: readonly string[], read: (path: string) => Promise<T>): Promise<T> {
  const [path, ...others] = paths;
  try {
    return await read(path!);
  } catch (error) {
    if (others.length === 0 || !isMissing(error)) throw error;
    return firstThere(others, read);
  }
}

/** A blob that is missing, or that nobody can read, takes away its key and no other one. */
function lossOfOne(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EACCES' || code === 'EPERM') {
    const [message, remedy] = [`${path}: ${reasonOf(code)}`, readableRemedy(dirname(path))];
    return new KmsError('ERR_KMS_KEYSET_PERMISSIONS', message, { cause: error, remedy });
  }
  const damage: Record<string, string> = {
    ENOENT: 'no such file',
    ELOOP: 'a symbolic link where a key blob should be',
    ENXIO: 'a socket where a key blob should be',
    EIO: 'the disk cannot read it (EIO)',
  };
  const what = damage[code ?? ''];
  if (what === undefined) return error;
  return new KmsError('ERR_KMS_KEYSET_INVALID', `${path}: ${what}`, { cause: error, remedy: RESTORE_KEYS });
}

/** Returns the key files that the manifest does not list. Another writer may be about to list one, so none is removed. */
export async function findLeftovers(directory: string): Promise<string[]> {
  const manifest = await readManifest(join(directory, MANIFEST_NAME));
  const listed = new Set(manifest.keys.map(({ id }) => blobName(id)));
  return (await readdir(directory))
    .filter((name) => /\.key(\.[0-9a-f]+\.tmp)?$/.test(name) && !listed.has(name))
    .map((name) => join(directory, name));
}

/**
 * @param shownPath - how the path was given: what an error names, and what nobody else may be able to change
 * @throws {@link KmsError} `ERR_KMS_KEYSET_PERMISSIONS`, `ERR_KMS_KEYSET_INVALID`, and what `open` throws
 */
export async function readManifest(path: string, shownPath = path): Promise<StoredManifest> {
  await requireTrusted(shownPath);
  try {
    return parseManifest((await readSmallFile(path, MAX_MANIFEST_BYTES)).toString('utf8'), shownPath);
  } catch (error) {
    if (!(error instanceof FileRefused)) throw error;
    throw new KmsError('ERR_KMS_KEYSET_INVALID', `${shownPath}: ${error.reason}`, { remedy: RESTORE_MANIFEST });
  }
}

/** @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID`, `ERR_KMS_KEYSET_PERMISSIONS`, and what `open` throws */
export async function readBlob(
  path: string,
  { allowGroupRead, owners }: DirectoryOptions & { readonly owners: readonly number[] },
): Promise<SecretBytes> {
  const file = await open(path, READ | constants.O_NOFOLLOW);
  try {
    const { mode, size, uid } = await file.stat();
    if (uid !== 0 && !owners.includes(uid)) {
      throw new KmsError('ERR_KMS_KEYSET_PERMISSIONS', `${path} belongs to user ${uid}, who can change it`, {
        remedy: `find out why; if it is the right key: chown ${owners[0]} ${shellWord(path)}`,
      });
    }
    if ((mode & 0o007) !== 0) {
      throw new KmsError('ERR_KMS_KEYSET_PERMISSIONS', `${path} is open to everyone (mode ${octal(mode)})`, {
        remedy: `chmod 0600 ${shellWord(path)}`,
      });
    }
    if ((mode & 0o070) !== 0 && !(allowGroupRead && (mode & 0o030) === 0)) {
      throw new KmsError('ERR_KMS_KEYSET_PERMISSIONS', `${path} is open to its group (mode ${octal(mode)})`, {
        remedy: `chmod 0600 ${shellWord(path)}, or set allowGroupRead if only the plugin is in its group`,
      });
    }
    if (size !== KEY_BYTES) throw wrongBlobSize(path, size);
    const key = new SecretBytes(Buffer.alloc(KEY_BYTES));
    const { bytesRead } = await file.read(key.expose(), 0, KEY_BYTES, 0);
    if (bytesRead === KEY_BYTES) return key;
    key.wipe();
    throw wrongBlobSize(path, bytesRead);
  } finally {
    await file.close();
  }
}

/** Whose files a keyset may consist of, besides root's: ours. Root reads that of another user, as whom the plugin runs. */
export async function ownersOf(directory: string): Promise<readonly number[]> {
  const user = process.geteuid?.() ?? 0;
  return [user === 0 ? ((await stat(directory).catch(() => undefined))?.uid ?? 0) : user];
}

/** @throws {@link KmsError} `ERR_KMS_KEYSET_PERMISSIONS` if somebody else could change the manifest */
export async function requireTrusted(manifestPath: string): Promise<void> {
  const distrust = await distrustOfAsync(manifestPath, await ownersOf(dirname(manifestPath)));
  if (distrust) throw new KmsError('ERR_KMS_KEYSET_PERMISSIONS', distrust.text, { remedy: distrust.remedy });
}

/** Whether the whole directory was swapped since its manifest was found at `real`, so that a missing file says nothing. */
const isSwapped = async (manifestPath: string, real: string | undefined): Promise<boolean> =>
  (await realpath(manifestPath).catch(() => real)) !== real;

function reasonOf(code = 'cannot be read'): string {
  if (code === 'EACCES' || code === 'EPERM') return `user ${process.geteuid?.() ?? ''} cannot read it`;
  return code === 'ENOENT' ? 'no such file' : code;
}

/** A missing manifest may come back with its volume. */
function fileError(error: unknown, manifestPath: string): KmsError {
  const { code, path } = error as NodeJS.ErrnoException;
  const text = `${path ?? manifestPath}: ${reasonOf(code)}`;
  const remedies: Record<string, string> = {
    ENOENT: MOUNT_OR_RESTORE,
    EACCES: readableRemedy(dirname(manifestPath)),
  };
  return unavailable(text, { cause: error, remedy: remedies[code ?? ''] });
}

/** What lets this user read the directory: the first one above it that is closed has to let others through. */
function readableRemedy(directory: string): string {
  const parts = directory.split('/').slice(1, -1);
  const above = parts.map((_part, index) => `/${parts.slice(0, index + 1).join('/')}`);
  const closed = above.find((path) => !canEnter(path));
  return closed === undefined
    ? `chown -R ${process.getuid?.() ?? 0} ${shellWord(directory)}`
    : `chmod o+x ${shellWord(closed)}`;
}

function canEnter(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, '0');
