import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import { relationOf } from '../../src/keyset/succession.ts';
import { manifestOf } from '../support/manifests.ts';

const hash = (digit: string): string => digit.repeat(64);

function version2(generation: number, own: string, replaces?: string): StoredManifest {
  return {
    ...manifestOf('promoted'),
    formatVersion: 2,
    generation,
    hash: hash(own),
    ...(replaces && { replaces: hash(replaces) }),
  };
}

const cases: [what: string, offered: StoredManifest, known: StoredManifest, relation: string][] = [
  ['the same bytes', version2(3, 'a', '9'), version2(3, 'a', '9'), 'same'],
  ['the next generation, which names this one', version2(4, 'b', 'a'), version2(3, 'a'), 'newer'],
  ['the next generation of another one', version2(4, 'b', 'c'), version2(3, 'a'), 'conflict'],
  ['a later generation', version2(9, 'b', 'c'), version2(3, 'a'), 'newer'],
  ['the same generation with other bytes', version2(3, 'b', '9'), version2(3, 'a', '9'), 'conflict'],
  ['an earlier generation', version2(2, 'b'), version2(3, 'a'), 'older'],
  ['another context id', { ...version2(4, 'b', 'a'), contextId: 'f'.repeat(32) }, version2(3, 'a'), 'foreign'],
  [
    'version 2, converted from this version 1',
    version2(1, 'b', 'a'),
    { ...manifestOf('promoted'), hash: hash('a') },
    'newer',
  ],
  [
    'version 2, converted from another version 1',
    version2(1, 'b', 'c'),
    { ...manifestOf('promoted'), hash: hash('a') },
    'conflict',
  ],
  ['version 1 after version 2', { ...manifestOf('promoted'), hash: hash('a') }, version2(1, 'b', 'a'), 'older'],
];
for (const [what, offered, known, relation] of cases) {
  test(`${what}: ${relation}`, () => {
    assert.is(relationOf(offered, known), relation);
  });
}

test('a host that remembers no more than generation and hash comes to the same, in version 2', () => {
  for (const [, offered, known, relation] of cases.filter(([, offered]) => offered.formatVersion === 2)) {
    const { contextId, generation, hash } = known;
    assert.is(relationOf(offered, { contextId, generation, hash }), relation);
  }
});

const old = { ...manifestOf('promoted', 'retired', 'promoted'), hash: hash('a') };
const changed = (keys: StoredManifest['keys'], digit = 'b'): StoredManifest => ({ ...old, keys, hash: hash(digit) });
const later = (entry: StoredManifest['keys'][number]) => ({ ...entry, since: '2026-02-01T00:00:00.000Z' });

test('version 1: a later change of any state is newer, and the other way round older', () => {
  const next = changed(old.keys.map((entry, index) => (index === 2 ? later(entry) : entry)));
  assert.is(relationOf(next, old), 'newer');
  assert.is(relationOf(old, next), 'older');
});

test('version 1: the same without a retired key is newer, because the key was destroyed', () => {
  const next = changed(old.keys.filter(({ state }) => state !== 'retired'));
  assert.is(relationOf(next, old), 'newer');
});

test('version 1: the same without a key in use is older', () => {
  assert.is(relationOf(changed(old.keys.slice(0, 2)), old), 'older');
});

test('version 1: another primary without a later change is older', () => {
  assert.is(relationOf({ ...old, primary: 'key-2', hash: hash('b') }, old), 'older');
});

test.run();
