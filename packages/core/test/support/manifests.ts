import type { Manifest, StoredManifest } from '../../src/keyset/manifest.ts';
import { formatManifest } from '../../src/keyset/manifest.ts';

const TIME = '2026-01-02T03:04:05.000Z';

/** A manifest with one key a state, in this order; the first promoted one is the primary. */
export function manifestOf(...states: readonly ('pending' | 'promoted' | 'retired')[]): StoredManifest {
  const keys = states.map((state, index) => ({ id: `key-${String(index)}`, created: TIME, state, since: TIME }));
  const primary = keys.find((key) => key.state === 'promoted')?.id ?? 'none';
  return {
    formatVersion: 1,
    contextId: '0123456789abcdef0123456789abcdef',
    generation: 0,
    hash: '00'.repeat(32),
    primary,
    keys,
  };
}

/** What a manifest says, without what only a stored one has. */
export function contentOf(manifest: StoredManifest): Manifest {
  return Object.fromEntries(Object.entries(manifest).filter(([name]) => name !== 'hash')) as unknown as Manifest;
}

/** As it stands in a file, without the comment. */
export const manifestText = (manifest: Manifest): string => formatManifest(manifest).replace(/^#.*\n/gm, '');
