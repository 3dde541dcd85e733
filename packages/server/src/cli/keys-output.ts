import { safeText, systemClock } from '@teapot-kms/core';
import type { Change, Manifest, ManifestEntry } from '@teapot-kms/core';
import { keyIdHash } from '../kms/key-id-hash.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { age, print, table } from './output.ts';
import type { OutputFormat } from './output.ts';

export interface KeysOptions extends KeyStoreOptions {
  readonly dryRun?: boolean;
  readonly output: OutputFormat;
}

/** Prints the keyset after a change. */
export function report(options: KeysOptions, { after }: Change, text: string, extra: object = {}): void {
  if (options.output === 'json')
    return print(JSON.stringify({ ...extra, dryRun: options.dryRun ?? false, ...summary(after) }));
  print(`${options.dryRun ? 'dry run, nothing is changed: ' : ''}${text}\n\n${list(after)}`);
}

/** Stands for what only the real change makes: a random id. */
const NEW = '(new)';

/** What a dry run of "generate" shows: the id of a key that is not made would mislead. */
export function withoutNewIds({ before, after, keyId }: Change): Change {
  const keys = after.keys.map((key) => (key.id === keyId ? { ...key, id: NEW } : key));
  const own = before ? {} : { contextId: NEW, primary: NEW };
  return { before, after: { ...after, ...own, keys }, keyId: NEW };
}

/** What JSON output says of a keyset. */
export function summary({ formatVersion, contextId, generation, primary, keys, rotation }: Manifest): object {
  const shown = keys.map((key) => ({ ...key, ...(key.id !== NEW && { keyIdHash: keyIdHash(key.id) }) }));
  return { formatVersion, contextId, generation, primary, keys: shown, rotation };
}

/** The keys as a table. */
export function list({ primary, keys, rotation }: Manifest): string {
  const rows = keys.map((key) => {
    const role = roleOf(key, primary);
    const passed = systemClock.wall() - Date.parse(role === 'decrypt-only' ? demotionOf(key, keys) : key.since);
    return [key.id, role, passed < 0 ? age(passed) : `${age(passed)} ago`];
  });
  const notes = rotation?.['unverified'];
  const without = notes === undefined ? '' : `\n\nMade without evidence (--unverified): ${safeText(notes, 1_024)}`;
  return `${table([['KEY', 'STATE', 'SINCE'], ...rows])}${without}`;
}

/** What a key does: of those that were promoted, only the primary encrypts. */
export function roleOf({ id, state }: { readonly id: string; readonly state: string }, primary?: string): string {
  if (id === primary) return 'primary';
  return state === 'promoted' ? 'decrypt-only' : state;
}

/**
 * When a key ceased to encrypt, at the latest. Its own state did not change then, but that of the key that took its place. A key that was
 * restored has no successor since.
 */
function demotionOf({ since }: ManifestEntry, keys: readonly ManifestEntry[]): string {
  const promoted = keys.filter((key) => key.state === 'promoted').map((key) => key.since);
  const later = promoted.filter((time) => Date.parse(time) > Date.parse(since));
  return later.sort((a, b) => Date.parse(a) - Date.parse(b))[0] ?? since;
}
