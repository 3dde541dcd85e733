import type { StoredManifest } from './manifest.ts';

/** How one manifest stands to another one (`docs/spec/keyset-v2.md` §4 and §8). */
export type Relation = 'same' | 'newer' | 'older' | 'conflict' | 'foreign';

/** What is known of a manifest that was in use before: all of it, or what the host remembers. */
export type Predecessor = Pick<StoredManifest, 'contextId' | 'generation' | 'hash'> & Partial<StoredManifest>;

/** @returns what `offered` is, compared with `known` */
export function relationOf(offered: StoredManifest, known: Predecessor): Relation {
  if (offered.contextId !== known.contextId) return 'foreign';
  if (offered.hash === known.hash) return 'same';
  const steps = offered.generation - known.generation;
  if (steps === 0) return offered.generation === 0 ? relationOfVersion1(offered, known) : 'conflict';
  if (steps === 1 && offered.replaces !== known.hash) return 'conflict';
  return steps > 0 ? 'newer' : 'older';
}

/** The keys of a manifest that never seal again (design D2): they were the primary, or nobody can tell. */
export const formerPrimaries = (keys: StoredManifest['keys'], primary: string | undefined): string[] =>
  keys.filter(({ id, state }) => state !== 'pending' && id !== primary).map(({ id }) => id);

/** Version 1 has no generations: the latest change of a state decides. */
function relationOfVersion1(offered: StoredManifest, { keys: knownKeys, primary }: Predecessor): Relation {
  // A host that remembers only a hash cannot tell.
  if (!knownKeys) return 'newer';
  if (lastChange(offered.keys) > lastChange(knownKeys)) return 'newer';
  const kept = new Set(offered.keys.map(entryText));
  const dropped = knownKeys.filter((key) => !kept.has(entryText(key)));
  const onlyDestroyed =
    offered.primary === primary &&
    dropped.every(({ state }) => state === 'retired') &&
    offered.keys.length + dropped.length === knownKeys.length;
  return onlyDestroyed ? 'newer' : 'older';
}

const lastChange = (keys: StoredManifest['keys']): number => Math.max(...keys.map(({ since }) => Date.parse(since)));

const entryText = ({ id, state, since }: StoredManifest['keys'][number]): string => `${id} ${state} ${since}`;
