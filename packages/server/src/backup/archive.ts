import { isKeyId, KmsError, SecretBytes } from '@teapot-kms/core';
import type { KeysetBackup } from '@teapot-kms/core';
import { packTar, unpackTar } from 'modern-tar';

const MANIFEST = 'keyset.yaml';
const KEY_SUFFIX = '.key';
/** Longest archive that is read, in bytes: 1,000 keys of 1 KiB, and a manifest of 256 KiB. */
export const MAX_ARCHIVE_BYTES = 2 * 1024 * 1024;

/**
 * Makes a tar archive of a keyset directory, so that tar alone can restore it too.
 * @returns bytes that contain the keys; the caller wipes them
 */
export function packKeyset({ manifest, keys }: KeysetBackup): Promise<Uint8Array> {
  // No owner, and no time: the same keyset gives the same bytes.
  const entry = (name: string, body: Uint8Array, mode: number) => ({
    header: { name, size: body.length, mode, type: 'file' as const, mtime: new Date(0) },
    body,
  });
  const blobs = [...keys].map(([id, key]) => entry(`${id}${KEY_SUFFIX}`, key.expose(), 0o600));
  return packTar([entry(MANIFEST, Buffer.from(manifest), 0o644), ...blobs]);
}

/**
 * Undoes {@link packKeyset}. Keys have any length here: the import checks them.
 * @returns copies of the keys, which the caller wipes
 * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` for anything else than a keyset directory
 */
export async function unpackKeyset(archive: Uint8Array): Promise<KeysetBackup> {
  let manifest: string | undefined;
  const keys = new Map<string, SecretBytes>();
  for (const { header, data } of await entriesOf(archive)) {
    // tar -c DIRECTORY has the directory's name before each file's.
    const name = header.name.replace(/^.*\//, '');
    if (header.type === 'directory') continue;
    const id = name.endsWith(KEY_SUFFIX) ? name.slice(0, -KEY_SUFFIX.length) : '';
    if (name === MANIFEST && data && manifest === undefined) manifest = Buffer.from(data).toString('utf8');
    else if (isKeyId(id) && data && !keys.has(id)) keys.set(id, new SecretBytes(Buffer.from(data)));
    else throw invalid(`it contains ${JSON.stringify(header.name.slice(0, 100))} twice, or for no reason`);
  }
  if (manifest === undefined) throw invalid(`it contains no ${MANIFEST}`);
  return { manifest, keys };
}

async function entriesOf(archive: Uint8Array) {
  try {
    return await unpackTar(archive, { strict: true });
  } catch (cause) {
    throw new KmsError('ERR_KMS_KEYSET_INVALID', 'the backup is no tar archive', { cause });
  }
}

const invalid = (what: string): KmsError =>
  new KmsError('ERR_KMS_KEYSET_INVALID', `the backup is no keyset: ${what}`, {
    remedy: `expected the archive that "teapot-kms keys export" writes: ${MANIFEST} and <id>${KEY_SUFFIX} of each key`,
  });
