import { newKeyId } from '../envelope/key-id.ts';
import { KmsError } from '../errors.ts';
import type { KeysetAdmin } from './keyset-source.ts';
import type { KeyPlace, Manifest } from './manifest.ts';
import { newManifest, withoutKey, withPendingKey, withPromoted, withRestored, withRetired } from './rotation.ts';

export interface ChangeOptions {
  /** Say what would be done, and check that it may be done, without doing it. */
  readonly dryRun?: boolean;
  readonly now?: Date;
}

export interface Change {
  readonly before: Manifest | undefined;
  readonly after: Manifest;
  readonly keyId: string;
}

/** Makes a key: the primary of a new keyset, or a pending one in a keyset that exists. */
export async function generateKey(admin: KeysetAdmin, options: ChangeOptions = {}): Promise<Change> {
  const keyId = newKeyId();
  const now = options.now ?? new Date();
  const current = await admin.readManifest();
  const made = (place: KeyPlace): Manifest =>
    current ? withPendingKey(current.manifest, now, keyId, place) : newManifest(now, keyId, place);
  if (options.dryRun) return { before: current?.manifest, after: made({}), keyId };
  const after = made(await admin.createKey(keyId));
  await admin.writeManifest(after, current?.revision);
  return { before: current?.manifest, after, keyId };
}

/** Makes a pending key the primary; see {@link withPromoted} for its rules. */
export function promoteKey(
  admin: KeysetAdmin,
  keyId: string,
  options: ChangeOptions & { readonly minPendingMs?: number } = {},
): Promise<Change> {
  return change(admin, keyId, options, (manifest, now) => withPromoted(manifest, keyId, now, options.minPendingMs));
}

/** Ends the use of a key; its blob is kept until {@link destroyRetiredKey}. */
export function retireKey(admin: KeysetAdmin, keyId: string, options: ChangeOptions = {}): Promise<Change> {
  return change(admin, keyId, options, (manifest, now) => withRetired(manifest, keyId, now));
}

/** Undoes {@link retireKey}. */
export function restoreKey(admin: KeysetAdmin, keyId: string, options: ChangeOptions = {}): Promise<Change> {
  return change(admin, keyId, options, (manifest, now) => withRestored(manifest, keyId, now));
}

/** Destroys a retired key for good: what is sealed under it can never be opened again. */
export async function destroyRetiredKey(
  admin: KeysetAdmin,
  keyId: string,
  options: ChangeOptions = {},
): Promise<Change> {
  const made = await change(admin, keyId, options, (manifest) => withoutKey(manifest, keyId));
  const { secret } = made.before?.keys.find((key) => key.id === keyId) ?? {};
  if (!options.dryRun) await admin.destroyKey(keyId, { secret });
  return made;
}

async function change(
  admin: KeysetAdmin,
  keyId: string,
  { dryRun, now = new Date() }: ChangeOptions,
  transition: (manifest: Manifest, now: Date) => Manifest,
): Promise<Change> {
  const current = await admin.readManifest();
  if (!current) throw new KmsError('ERR_KMS_KEYSET_RULE', 'there is no keyset yet; make one with "keys generate"');
  const after = transition(current.manifest, now);
  if (!dryRun) await admin.writeManifest(after, current.revision);
  return { before: current.manifest, after, keyId };
}
