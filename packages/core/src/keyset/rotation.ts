import { randomBytes } from 'node:crypto';
import { CONTEXT_ID_BYTES } from '../envelope/limits.ts';
import { KmsError } from '../errors.ts';
import { MAX_KEYS_TO_GROW } from './manifest.ts';
import type { KeyTraits, Manifest, ManifestEntry } from './manifest.ts';

/** 16 random bytes in hexadecimal: the identity of a new keyset. */
export const newContextId = (): string => randomBytes(CONTEXT_ID_BYTES).toString('hex');

/** A new keyset. Its first key is the primary at once, because no data is sealed yet. */
export function newManifest(now: Date, contextId: string, id: string, traits: KeyTraits): Manifest {
  const time = now.toISOString();
  const keys = [{ id, created: time, state: 'promoted', since: time, ...traits }] as const;
  return { formatVersion: 2, contextId, generation: 1, primary: id, keys };
}

/**
 * Adds a pending key. All replicas can open with it before it seals.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` for a keyset that has {@link MAX_KEYS_TO_GROW} keys: each load reads all of them
 */
export function withPendingKey(manifest: Manifest, now: Date, id: string, traits: KeyTraits): Manifest {
  if (manifest.keys.length >= MAX_KEYS_TO_GROW) {
    const remedy = 'retire keys that nothing needs any more, and destroy them a week later';
    throw rule(
      `a keyset of ${manifest.keys.length} keys gets no further one: the limit is ${MAX_KEYS_TO_GROW}`,
      remedy,
    );
  }
  const time = now.toISOString();
  return { ...manifest, keys: [...manifest.keys, { id, created: time, state: 'pending', since: time, ...traits }] };
}

/**
 * Makes a pending key the primary. A former primary is never promoted again: kube-apiserver would take data that was sealed under it before
 * for up to date (design D2).
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE`
 */
export function withPromoted(manifest: Manifest, id: string, now: Date): Manifest {
  const entry = entryOf(manifest, id);
  if (entry.state !== 'pending') {
    const reason =
      id === manifest.primary ? 'is already the primary' : `is ${entry.state}; only a pending key can be promoted`;
    throw rule(`key ${id} ${reason}`, 'make a new key with "teapot-kms keys generate"');
  }
  return { ...changed(manifest, { ...entry, state: 'promoted', since: now.toISOString() }), primary: id };
}

/**
 * Ends the use of a key that is not the primary. Data that is still sealed under it cannot be opened until {@link withRestored} undoes this.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE`
 */
export function withRetired(manifest: Manifest, id: string, now: Date): Manifest {
  const entry = entryOf(manifest, id);
  if (id === manifest.primary) {
    throw rule(`key ${id} is the primary`, 'first promote another key and rewrite all data');
  }
  if (entry.state === 'retired') throw rule(`key ${id} is already retired`);
  return changed(manifest, { ...entry, state: 'retired', since: now.toISOString() });
}

/** Lets a retired key open again. It counts as a former primary, so it never seals. */
export function withRestored(manifest: Manifest, id: string, now: Date): Manifest {
  const entry = retiredEntryOf(manifest, id);
  return changed(manifest, { ...entry, state: 'promoted', since: now.toISOString() });
}

/**
 * Removes a retired key from the keyset. Its blob is destroyed after the manifest is written.
 * @param graceMs - least time in ms since the key was retired
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE`
 */
export function withoutKey(manifest: Manifest, id: string, now: Date, graceMs: number): Manifest {
  const { since } = retiredEntryOf(manifest, id);
  const destroyable = new Date(Date.parse(since) + graceMs);
  if (now < destroyable) {
    const remedy = `wait until ${destroyable.toISOString()}; until then "teapot-kms keys restore ${id}" brings it back`;
    throw rule(`key ${id} was retired at ${since}, and is kept for a while`, remedy);
  }
  return { ...manifest, keys: manifest.keys.filter((key) => key.id !== id) };
}

/** Longest note in a manifest, in characters. */
const MAX_NOTE = 1_024;

/**
 * Notes in the manifest that a change was made without evidence (`docs/spec/keyset-v2.md` §3). The oldest notes give way. Version 1 has no room.
 * @param what - the command and the key
 */
export function withUnverified(manifest: Manifest, what: string, now: Date): Manifest {
  if (manifest.formatVersion === 1) return manifest;
  const notes = [...(manifest.rotation?.['unverified']?.split('; ') ?? []), `${what} ${now.toISOString()}`];
  while (notes.join('; ').length > MAX_NOTE) notes.shift();
  return { ...manifest, rotation: { ...manifest.rotation, unverified: notes.join('; ') } };
}

function retiredEntryOf(manifest: Manifest, id: string): ManifestEntry {
  const entry = entryOf(manifest, id);
  if (entry.state !== 'retired') throw rule(`key ${id} is not retired`);
  return entry;
}

function entryOf(manifest: Manifest, id: string): ManifestEntry {
  const entry = manifest.keys.find((key) => key.id === id);
  if (!entry) throw rule(`there is no key ${id} in this keyset`);
  return entry;
}

function rule(message: string, remedy?: string): KmsError {
  return new KmsError('ERR_KMS_KEYSET_RULE', message, { remedy });
}

function changed(manifest: Manifest, entry: ManifestEntry): Manifest {
  return { ...manifest, keys: manifest.keys.map((key) => (key.id === entry.id ? entry : key)) };
}
