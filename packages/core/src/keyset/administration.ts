import { newKeyId } from '../envelope/key-id.ts';
import { KmsError } from '../errors.ts';
import { systemClock } from '../util/clock.ts';
import type { Clock } from '../util/clock.ts';
import type { KeysetAdmin } from './keyset-source.ts';
import type { KeyTraits, Manifest, StoredManifest } from './manifest.ts';
import {
  newContextId,
  newManifest,
  withoutKey,
  withPendingKey,
  withPromoted,
  withRestored,
  withRetired,
} from './rotation.ts';

export interface ChangeOptions {
  /** Checks that the change is allowed, and returns what it would do, without doing it. */
  readonly dryRun?: boolean;
  readonly clock?: Clock;
}

export interface Change {
  readonly before: Manifest | undefined;
  readonly after: Manifest;
  readonly keyId: string;
}

const MAKE_A_KEYSET = 'make one with "teapot-kms keys generate"';

/** Creates a key: the primary of a new keyset, or a pending key of an existing one. */
export async function generateKey(admin: KeysetAdmin, options: ChangeOptions = {}): Promise<Change> {
  const keyId = newKeyId();
  const now = today(options);
  const current = await admin.readManifest();
  const contextId = current?.manifest.contextId ?? newContextId();
  const made = (traits: KeyTraits): Manifest =>
    current
      ? successor(current.manifest, (manifest) => withPendingKey(manifest, now, keyId, traits))
      : newManifest(now, contextId, keyId, traits);
  if (options.dryRun) return { before: current?.manifest, after: made({}), keyId };
  const after = made(await admin.createKey(keyId, Buffer.from(contextId, 'hex')));
  await admin.writeManifest(after, current?.revision);
  return { before: current?.manifest, after, keyId };
}

/** Makes a pending key the primary. {@link withPromoted} has the rules. */
export function promoteKey(
  admin: KeysetAdmin,
  keyId: string,
  options: ChangeOptions & { readonly minPendingMs?: number } = {},
): Promise<Change> {
  return change(admin, keyId, options, (manifest, now) => withPromoted(manifest, keyId, now, options.minPendingMs));
}

/** Ends the use of a key. Its blob is kept until {@link destroyRetiredKey}. */
export function retireKey(admin: KeysetAdmin, keyId: string, options: ChangeOptions = {}): Promise<Change> {
  return change(admin, keyId, options, (manifest, now) => withRetired(manifest, keyId, now));
}

/** Undoes {@link retireKey}. */
export function restoreKey(admin: KeysetAdmin, keyId: string, options: ChangeOptions = {}): Promise<Change> {
  return change(admin, keyId, options, (manifest, now) => withRestored(manifest, keyId, now));
}

/** Destroys a retired key. Data that is sealed under it can never be opened again. */
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

const today = ({ clock = systemClock }: ChangeOptions): Date => new Date(clock.wall());

async function change(
  admin: KeysetAdmin,
  keyId: string,
  options: ChangeOptions,
  transition: (manifest: Manifest, now: Date) => Manifest,
): Promise<Change> {
  const current = await admin.readManifest();
  if (!current) {
    throw new KmsError('ERR_KMS_KEYSET_RULE', 'there is no keyset yet', { remedy: MAKE_A_KEYSET });
  }
  const after = successor(current.manifest, (manifest) => transition(manifest, today(options)));
  if (!options.dryRun) await admin.writeManifest(after, current.revision);
  return { before: current.manifest, after, keyId };
}

/** A change of version 2 counts the generation and names the manifest that it replaces. */
function successor({ hash, ...before }: StoredManifest, transition: (manifest: Manifest) => Manifest): Manifest {
  const after = transition(before);
  if (after.formatVersion === 2) return { ...after, generation: before.generation + 1, replaces: hash };
  // Version 1 has no place for the check value of a new key.
  const keys = after.keys.map(({ id, created, state, since, secret }) => ({ id, created, state, since, secret }));
  return { ...after, keys };
}
