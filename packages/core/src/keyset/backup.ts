import { timingSafeEqual } from 'node:crypto';
import { KEY_BYTES } from '../envelope/limits.ts';
import { KmsError } from '../errors.ts';
import type { SecretBytes } from '../util/secret-bytes.ts';
import { successor } from './administration.ts';
import { KeyProof } from './key-proof.ts';
import type { KeysetAdmin, KeysetBackup, ManifestRevision } from './keyset-source.ts';
import { formatManifest, parseManifest } from './manifest.ts';
import type { Manifest, ManifestEntry, StoredManifest } from './manifest.ts';
import { relationOf } from './succession.ts';

export interface ExportedKeyset {
  readonly backup: KeysetBackup;
  readonly manifest: StoredManifest;
  /** Keys that the store does not have any more, or not whole: only retired ones, unless they may be left out. */
  readonly missing: readonly string[];
}

export interface ImportedKeyset {
  readonly before: Manifest | undefined;
  readonly after: Manifest;
  /** Keys that the store did not have whole. */
  readonly restored: readonly string[];
  /** Keys that the manifest before lists and this one does not. The store keeps them, and no load takes them any more. */
  readonly unlisted: readonly string[];
  /** One `ERR_KMS_KEYSET_CONFLICT` for each key that has other bytes here, where no check value tells which are right (version 1). It is not touched. */
  readonly disputed: readonly KmsError[];
}

/**
 * Reads a whole keyset, retired keys too: an older backup of etcd may need them. Each key is compared with its check value.
 * @param options.partial - leave out keys that are damaged or missing, whatever their state: another copy may have them
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` if keys never leave the store, or there is no keyset; `ERR_KMS_KEYSET_INVALID` or what
 * {@link KeysetAdmin.readKey} throws for a key in use that is damaged or missing: the result would be no backup
 */
export async function exportKeyset(
  admin: KeysetAdmin,
  { partial = false }: { readonly partial?: boolean } = {},
): Promise<ExportedKeyset> {
  if (!admin.readKey) {
    throw new KmsError('ERR_KMS_KEYSET_RULE', 'the keys of this key store never leave it', {
      remedy:
        'use the backup of its vendor; or make the next key with "teapot-kms keys generate --escrow-to", which writes a copy before the key is used',
    });
  }
  const stored = await admin.readManifest();
  if (!stored) throw new KmsError('ERR_KMS_KEYSET_RULE', 'there is no keyset here: nothing to export');
  const { manifest, text } = stored;
  const keys = new Map<string, SecretBytes>();
  const missing: string[] = [];
  try {
    for (const entry of manifest.keys) {
      try {
        const key = await admin.readKey(entry.id, entry);
        keys.set(entry.id, key);
        checkKey(manifest, entry, key);
      } catch (error) {
        if ((entry.state !== 'retired' && !partial) || !isLoss(error)) throw error;
        keys.get(entry.id)?.wipe();
        keys.delete(entry.id);
        missing.push(entry.id);
      }
    }
  } catch (error) {
    wipeKeys({ keys });
    throw error;
  }
  return { backup: { manifest: text, keys }, manifest, missing };
}

/**
 * Brings back what a store has lost, and nothing else. A key that it has whole is not touched, also one that only the older manifest in the
 * store lists. A newer manifest stays. The manifest comes back byte for byte, so that hosts that remember it know it again, unless the store
 * must change an entry: then as its successor.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` if the backup contradicts itself or lacks a key of a new keyset; `ERR_KMS_KEYSET_RULE` if
 * there is another keyset here; `ERR_KMS_KEYSET_CONFLICT` if the two cannot be ordered
 * @param options.partial - the backup is a copy that may lack keys. Another copy may bring them later, unless they would be missed at once
 */
export async function importKeyset(
  admin: KeysetAdmin,
  backup: KeysetBackup,
  { dryRun = false, partial = false }: { readonly dryRun?: boolean; readonly partial?: boolean } = {},
): Promise<ImportedKeyset> {
  const offered = parseManifest(backup.manifest, 'the backup');
  for (const [id, key] of backup.keys) {
    const entry = offered.keys.find((one) => one.id === id);
    if (!entry)
      throw new KmsError('ERR_KMS_KEYSET_INVALID', `the backup contains key ${id}, which its manifest does not list`);
    checkKey(offered, entry, key);
  }
  const current = await admin.readManifest();
  const { manifest, text } = chosen(current, { manifest: offered, text: backup.manifest });
  const contextId = Buffer.from(manifest.contextId, 'hex');
  const restored: string[] = [];
  const disputed: KmsError[] = [];
  const keys: ManifestEntry[] = [];
  for (const entry of manifest.keys) {
    const key = backup.keys.get(entry.id);
    if (!key) {
      const isNew = !current?.manifest.keys.some(({ id }) => id === entry.id);
      if (isNew && !(partial && mayFollow(admin, entry, current))) checkDispensable(entry);
      keys.push(entry);
      continue;
    }
    checkKey(manifest, entry, key);
    const found = await lookFor(admin, manifest, entry, key);
    if (found !== 'lost') {
      if (found !== 'whole') disputed.push(found);
      keys.push(entry);
      continue;
    }
    restored.push(entry.id);
    const { secret } = dryRun ? entry : await admin.createKey(entry.id, contextId, key);
    keys.push(secret === entry.secret ? entry : { ...entry, secret });
  }
  const changed = { ...manifest, keys };
  const after = formatManifest(changed) === text ? changed : successor(manifest, (before) => ({ ...before, keys }));
  const isNews = restored.length > 0 || text !== current?.text;
  if (isNews && !dryRun) await admin.writeManifest(after, current?.revision);
  const listed = new Set(keys.map(({ id }) => id));
  const unlisted = (current?.manifest.keys ?? []).map(({ id }) => id).filter((id) => !listed.has(id));
  return { before: current?.manifest, after: isNews ? after : manifest, restored, unlisted, disputed };
}

/** Wipes the keys of a backup. */
export function wipeKeys({ keys }: Pick<KeysetBackup, 'keys'>): void {
  for (const key of keys.values()) key.wipe();
}

type Text = Pick<ManifestRevision, 'manifest' | 'text'>;

/** Returns the newer one of the manifest in the store and that of the backup. */
function chosen(current: Text | undefined, offered: Text): Text {
  if (!current) return offered;
  const relation = relationOf(offered.manifest, current.manifest);
  if (relation === 'foreign') {
    throw new KmsError('ERR_KMS_KEYSET_RULE', 'the backup is of another keyset than the one that is here', {
      remedy: 'import it at a place of its own',
    });
  }
  if (relation === 'conflict') {
    throw new KmsError('ERR_KMS_KEYSET_CONFLICT', 'the keyset was changed here in another way than in the backup', {
      remedy: 'import the backup at a place of its own, and compare the two with "teapot-kms keys list"',
    });
  }
  return relation === 'newer' ? offered : current;
}

/** Of a key in a token, only the token can tell: its check value is that of its check key. */
function checkKey({ contextId }: Manifest, { id, check, checkKey }: ManifestEntry, key: SecretBytes): void {
  if (key.length !== KEY_BYTES) {
    throw new KmsError('ERR_KMS_KEYSET_INVALID', `key ${id}: expected ${KEY_BYTES} bytes, found ${key.length}`);
  }
  if (check === undefined || checkKey !== undefined) return;
  const proof = new KeyProof(key, Buffer.from(contextId, 'hex'), id);
  const matches = proof.matches(check);
  proof.destroy();
  if (!matches) {
    throw new KmsError('ERR_KMS_KEYSET_INVALID', `key ${id}: its bytes do not match the check value in the manifest`);
  }
}

/** Whether a key may be missing in a copy: it is not kept beside its manifest, or there is no manifest here that is whole without it. */
const mayFollow = (admin: KeysetAdmin, { secret }: ManifestEntry, current: Text | undefined): boolean =>
  !admin.readKey || secret !== undefined || current === undefined;

/** @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` for a key in use that nothing but the backup can bring back */
function checkDispensable({ id, state, checkKey }: ManifestEntry): void {
  if (state === 'retired' || checkKey !== undefined) return;
  throw new KmsError('ERR_KMS_KEYSET_INVALID', `the backup lacks key ${id}, which its manifest lists as ${state}`);
}

/** @returns an error for two keys with one id, where no check value tells which is right */
async function lookFor(
  admin: KeysetAdmin,
  manifest: Manifest,
  entry: ManifestEntry,
  offered: SecretBytes,
): Promise<'whole' | 'lost' | KmsError> {
  if (!admin.readKey) return (await admin.holdsKey?.(entry.id)) ? 'whole' : 'lost';
  let held: SecretBytes | undefined;
  try {
    held = await admin.readKey(entry.id, entry);
    checkKey(manifest, entry, held);
  } catch (error) {
    held?.wipe();
    if (isLoss(error)) return 'lost';
    throw error;
  }
  const same = timingSafeEqual(held.expose(), offered.expose());
  held.wipe();
  if (same) return 'whole';
  const message = `key ${entry.id} has other bytes here than in the backup, and stays as it is`;
  return new KmsError('ERR_KMS_KEYSET_CONFLICT', message, {
    remedy: 'import the backup at a place of its own, and find out which of the two opens the data',
  });
}

/** Whether the store says that it does not have the key, or not whole. */
const isLoss = (error: unknown): boolean =>
  error instanceof KmsError && (error.code === 'ERR_KMS_KEYSET_INVALID' || error.code === 'ERR_KMS_KEY_GONE');
