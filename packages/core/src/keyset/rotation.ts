import { randomBytes } from 'node:crypto';
import { CONTEXT_ID_BYTES } from '../envelope/limits.ts';
import { newKeyId } from '../envelope/key-id.ts';
import { KmsError } from '../errors.ts';
import type { KeyPlace, Manifest, ManifestEntry } from './manifest.ts';

/** How long a new key stays pending at least: every replica must have loaded it before it seals (design D4). */
export const MIN_PENDING_MS = 2 * 60_000;

/** A keyset with its first key as the primary: nothing can depend on an earlier one. */
export function newManifest(now: Date, id = newKeyId(), place: KeyPlace = {}): Manifest {
  const time = now.toISOString();
  const contextId = randomBytes(CONTEXT_ID_BYTES).toString('hex');
  return {
    formatVersion: 1,
    contextId,
    primary: id,
    keys: [{ id, created: time, state: 'promoted', since: time, ...place }],
  };
}

/** Adds a pending key: it opens everywhere before anything is sealed under it. */
export function withPendingKey(manifest: Manifest, now: Date, id = newKeyId(), place: KeyPlace = {}): Manifest {
  const time = now.toISOString();
  return { ...manifest, keys: [...manifest.keys, { id, created: time, state: 'pending', since: time, ...place }] };
}

/**
 * Makes a pending key the primary. A former primary never comes back: data sealed under it before the switch would
 * count as fresh (design D2).
 * @param minPendingMs - age that the pending key must have reached
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE`
 */
export function withPromoted(manifest: Manifest, id: string, now: Date, minPendingMs = MIN_PENDING_MS): Manifest {
  const entry = entryOf(manifest, id);
  if (entry.state !== 'pending') {
    const reason =
      id === manifest.primary ? 'is the primary already' : `is ${entry.state}, only a pending key can be promoted`;
    throw new KmsError('ERR_KMS_KEYSET_RULE', `key ${id} ${reason}; make a new one with "keys generate"`);
  }
  const pendingMs = now.getTime() - Date.parse(entry.since);
  if (pendingMs < minPendingMs) {
    const wait = Math.ceil((minPendingMs - pendingMs) / 1000);
    const message = `key ${id} is pending for ${Math.floor(pendingMs / 1000)} s; wait ${wait} s more, so that every replica has loaded it`;
    throw new KmsError('ERR_KMS_KEYSET_RULE', message);
  }
  return { ...changed(manifest, { ...entry, state: 'promoted', since: now.toISOString() }), primary: id };
}

/**
 * Ends the use of a key that is not the primary. What is still sealed under it cannot be opened any more, until
 * {@link withRestored} undoes it.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE`
 */
export function withRetired(manifest: Manifest, id: string, now: Date): Manifest {
  const entry = entryOf(manifest, id);
  if (id === manifest.primary) {
    throw new KmsError(
      'ERR_KMS_KEYSET_RULE',
      `key ${id} is the primary; promote another one and rewrite all data first`,
    );
  }
  if (entry.state === 'retired') throw new KmsError('ERR_KMS_KEYSET_RULE', `key ${id} is retired already`);
  return changed(manifest, { ...entry, state: 'retired', since: now.toISOString() });
}

/** Lets a retired key open again; it counts as a former primary, so it never seals. */
export function withRestored(manifest: Manifest, id: string, now: Date): Manifest {
  const entry = retiredEntryOf(manifest, id);
  return changed(manifest, { ...entry, state: 'promoted', since: now.toISOString() });
}

/** Takes a retired key out of the keyset for good; its blob is destroyed after the manifest is written. */
export function withoutKey(manifest: Manifest, id: string): Manifest {
  retiredEntryOf(manifest, id);
  return { ...manifest, keys: manifest.keys.filter((key) => key.id !== id) };
}

function retiredEntryOf(manifest: Manifest, id: string): ManifestEntry {
  const entry = entryOf(manifest, id);
  if (entry.state !== 'retired') throw new KmsError('ERR_KMS_KEYSET_RULE', `key ${id} is not retired`);
  return entry;
}

function entryOf(manifest: Manifest, id: string): ManifestEntry {
  const entry = manifest.keys.find((key) => key.id === id);
  if (!entry) throw new KmsError('ERR_KMS_KEYSET_RULE', `there is no key ${id} in this keyset`);
  return entry;
}

function changed(manifest: Manifest, entry: ManifestEntry): Manifest {
  return { ...manifest, keys: manifest.keys.map((key) => (key.id === entry.id ? entry : key)) };
}
