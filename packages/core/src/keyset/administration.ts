import { newKeyId } from '../envelope/key-id.ts';
import { KmsError } from '../errors.ts';
import { newKey } from './blob.ts';
import { systemClock } from '../util/clock.ts';
import type { Clock } from '../util/clock.ts';
import type { KeyProof } from './key-proof.ts';
import type { KeysetAdmin, KeysetBackup } from './keyset-source.ts';
import { writableManifest } from './manifest.ts';
import type { KeyTraits, Manifest, StoredManifest } from './manifest.ts';
import { RESTORE_LOST_MANIFEST } from './restoring.ts';
import {
  newContextId,
  newManifest,
  withoutKey,
  withPendingKey,
  withPromoted,
  withRestored,
  withRetired,
  withUnverified,
} from './rotation.ts';

export interface ChangeOptions {
  /** Checks that the change is allowed, and returns what it would do, without doing it. */
  readonly dryRun?: boolean;
  readonly clock?: Clock;
}

export interface EvidentOptions extends ChangeOptions {
  /** Throws if the evidence for this very manifest does not suffice (design D14). */
  readonly check?: (manifest: StoredManifest) => void;
  /** Somebody goes on without evidence: the manifest notes it. */
  readonly unverified?: boolean;
}

export interface Change {
  readonly before: Manifest | undefined;
  readonly after: Manifest;
  readonly keyId: string;
}

/** Most keys that an error names. */
const MAX_NAMED = 10;

const MAKE_A_KEYSET = 'make one with "teapot-kms keys generate"';

export interface GenerateOptions extends ChangeOptions {
  /**
   * Makes the key outside the store, and gets a copy of it before anything may use it. The keys are wiped afterwards. If it throws, there is no
   * new key.
   */
  readonly escrow?: (backup: KeysetBackup) => Promise<void>;
  /** Throws if there is to be no new key in this very manifest. */
  readonly check?: (manifest: StoredManifest | undefined) => void;
}

/**
 * Creates a key: the primary of a new keyset, or a pending key of an existing one.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` where keys are left of a keyset whose manifest is gone
 */
export async function generateKey(admin: KeysetAdmin, options: GenerateOptions = {}): Promise<Change> {
  const keyId = newKeyId();
  const now = today(options);
  const current = await admin.readManifest();
  options.check?.(current?.manifest);
  if (!current) await checkNoOrphans(admin);
  const contextId = current?.manifest.contextId ?? newContextId();
  const made = (traits: KeyTraits): Manifest =>
    current
      ? successor(current.manifest, (manifest) => withPendingKey(manifest, now, keyId, traits))
      : newManifest(now, contextId, keyId, traits);
  const planned = made({});
  // Before a key is made for it.
  writableManifest(planned);
  if (options.dryRun) return { before: current?.manifest, after: planned, keyId };
  const context = Buffer.from(contextId, 'hex');
  const after = options.escrow
    ? await withEscrow(admin, keyId, context, options.escrow, made)
    : made(await admin.createKey(keyId, context));
  await admin.writeManifest(after, current?.revision);
  return { before: current?.manifest, after, keyId };
}

/** A new keyset beside the keys of a lost one would hide that they have to be restored. */
async function checkNoOrphans(admin: KeysetAdmin): Promise<void> {
  const found = (await admin.orphans?.()) ?? [];
  if (found.length === 0) return;
  const shown = found.slice(0, MAX_NAMED).join(', ');
  const more = found.length > MAX_NAMED ? ` and ${found.length - MAX_NAMED} more` : '';
  throw new KmsError(
    'ERR_KMS_KEYSET_RULE',
    `there is no manifest here, and there are keys of a keyset: ${shown}${more}. A new keyset cannot decrypt what they have encrypted`,
    {
      remedy: `${RESTORE_LOST_MANIFEST}. Only if nothing was ever encrypted with these keys: make the keyset at another place`,
    },
  );
}

async function withEscrow(
  admin: KeysetAdmin,
  keyId: string,
  contextId: Buffer,
  escrow: NonNullable<GenerateOptions['escrow']>,
  made: (traits: KeyTraits) => Manifest,
): Promise<Manifest> {
  const { key } = newKey(keyId, contextId);
  try {
    const traits = { ...(await admin.createKey(keyId, contextId, key)), imported: true } as const;
    try {
      const after = made(traits);
      await escrow({ manifest: writableManifest(after), keys: new Map([[keyId, key]]) });
      return after;
    } catch (error) {
      // No manifest lists it, so nothing is sealed under it. If it stays, doctor names it; the first error says more.
      await admin.destroyKey(keyId, traits).catch(() => undefined);
      throw error;
    }
  } finally {
    key.wipe();
  }
}

/** Makes a pending key the primary. {@link withPromoted} has the rules. */
export function promoteKey(admin: KeysetAdmin, keyId: string, options: EvidentOptions = {}): Promise<Change> {
  return change(admin, keyId, options, (manifest, now) =>
    noted(withPromoted(manifest, keyId, now), `promote ${keyId}`, now, options),
  );
}

/** Ends the use of a key. Its blob is kept until {@link destroyRetiredKey}. */
export function retireKey(admin: KeysetAdmin, keyId: string, options: EvidentOptions = {}): Promise<Change> {
  return change(admin, keyId, options, (manifest, now) =>
    noted(withRetired(manifest, keyId, now), `retire ${keyId}`, now, options),
  );
}

/** Undoes {@link retireKey}. */
export function restoreKey(admin: KeysetAdmin, keyId: string, options: ChangeOptions = {}): Promise<Change> {
  return change(admin, keyId, options, (manifest, now) => withRestored(manifest, keyId, now));
}

/** How long in ms a key is kept after its retirement, in case that something still needs it. */
export const RETIRED_GRACE_MS = 7 * 24 * 3_600_000;

/**
 * Destroys a key that has been retired for a while. Data that is sealed under it can never be opened again.
 * @param graceMs - least time in ms since the retirement. Default {@link RETIRED_GRACE_MS}
 */
export async function destroyRetiredKey(
  admin: KeysetAdmin,
  keyId: string,
  options: ChangeOptions & { readonly graceMs?: number } = {},
): Promise<Change> {
  const { graceMs = RETIRED_GRACE_MS } = options;
  const made = await change(admin, keyId, options, (manifest, now) => withoutKey(manifest, keyId, now, graceMs));
  const traits = made.before?.keys.find((key) => key.id === keyId) ?? {};
  if (!options.dryRun) await admin.destroyKey(keyId, traits);
  return made;
}

const noted = (manifest: Manifest, what: string, now: Date, { unverified }: EvidentOptions): Manifest =>
  unverified ? withUnverified(manifest, what, now) : manifest;

const today = ({ clock = systemClock }: ChangeOptions): Date => new Date(clock.wall());

async function change(
  admin: KeysetAdmin,
  keyId: string,
  options: EvidentOptions,
  transition: (manifest: Manifest, now: Date) => Manifest,
): Promise<Change> {
  const current = await admin.readManifest();
  if (!current) {
    throw new KmsError('ERR_KMS_KEYSET_RULE', 'there is no keyset yet', { remedy: MAKE_A_KEYSET });
  }
  options.check?.(current.manifest);
  const after = successor(current.manifest, (manifest) => transition(manifest, today(options)));
  if (!options.dryRun) await admin.writeManifest(after, current.revision);
  return { before: current.manifest, after, keyId };
}

/**
 * Converts a keyset of version 1 to version 2. A plugin that reads only version 1 refuses the result.
 * @param proofs - of the keys that are loaded, by key id; of a retired key nothing is known
 * @param options - its `check` must compare reports with the proofs: what the store has now becomes what is right
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` if there is nothing to convert, `ERR_KMS_KEYSET_INVALID` if a key in use is not loaded
 */
export async function convertKeyset(
  admin: KeysetAdmin,
  proofs: ReadonlyMap<string, KeyProof>,
  options: EvidentOptions = {},
): Promise<Change> {
  const current = await admin.readManifest();
  if (current?.manifest.formatVersion !== 1) {
    throw new KmsError('ERR_KMS_KEYSET_RULE', 'there is no keyset of version 1 here: nothing to convert');
  }
  const { hash, ...before } = current.manifest;
  options.check?.(current.manifest);
  const contextId = Buffer.from(before.contextId, 'hex');
  const keys = await Promise.all(
    before.keys.map(async (key) =>
      key.state === 'retired' ? key : { ...key, ...(await traitsOf(admin, key.id, contextId, proofs)) },
    ),
  );
  const converted: Manifest = { ...before, formatVersion: 2, generation: 1, replaces: hash, keys };
  const after = noted(converted, 'convert', today(options), options);
  if (!options.dryRun) await admin.writeManifest(after, current.revision);
  return { before: current.manifest, after, keyId: before.primary };
}

async function traitsOf(
  admin: KeysetAdmin,
  keyId: string,
  contextId: Buffer,
  proofs: ReadonlyMap<string, KeyProof>,
): Promise<KeyTraits> {
  if (admin.traitsOf) return admin.traitsOf(keyId, contextId);
  const proof = proofs.get(keyId);
  if (proof) return { check: proof.check };
  throw new KmsError('ERR_KMS_KEYSET_INVALID', `key ${keyId} cannot be loaded`, {
    remedy: 'look with "teapot-kms doctor"; restore the key first',
  });
}

/** A change of version 2 counts the generation and names the manifest that it replaces. */
export function successor({ hash, ...before }: StoredManifest, transition: (manifest: Manifest) => Manifest): Manifest {
  const after = transition(before);
  if (after.formatVersion === 2) return { ...after, generation: before.generation + 1, replaces: hash };
  // Version 1 has no place for the check value of a new key.
  const keys = after.keys.map(({ id, created, state, since, secret }) => ({ id, created, state, since, secret }));
  return { ...after, keys };
}
