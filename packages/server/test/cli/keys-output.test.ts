import { systemClock } from '@teapot-kms/core';
import type { Manifest } from '@teapot-kms/core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { list, roleOf, summary, withoutNewIds } from '../../src/cli/keys-output.ts';

const HOUR = 3_600_000;
const ago = (hours: number): string => new Date(systemClock.wall() - hours * HOUR).toISOString();

type Given = readonly [id: string, state: 'pending' | 'promoted' | 'retired', hoursSince: number];
function manifestOf(primary: string, ...given: readonly Given[]): Manifest {
  const keys = given.map(([id, state, hours]) => ({ id, created: ago(99), state, since: ago(hours) }));
  return { formatVersion: 2, contextId: 'ab'.repeat(16), generation: 1, primary, keys };
}
/** The columns STATE and SINCE of each key. */
const shown = (manifest: Manifest): string[] =>
  list(manifest)
    .split('\n')
    .slice(1)
    .map((line) => line.replace(/ {2,}/g, ' '));

test('a former primary is decrypt-only since the next key was promoted, not since its own promotion', () => {
  const manifest = manifestOf('three', ['one', 'promoted', 90], ['two', 'promoted', 60], ['three', 'promoted', 30]);
  assert.equal(shown(manifest), ['one decrypt-only 3 d ago', 'two decrypt-only 30 h ago', 'three primary 30 h ago']);
});

test('a key that was restored is decrypt-only since then', () => {
  const manifest = manifestOf('two', ['one', 'promoted', 10], ['two', 'promoted', 40]);
  assert.equal(shown(manifest), ['one decrypt-only 10 h ago', 'two primary 40 h ago']);
});

test('pending and retired keys are so since the change of their state', () => {
  const manifest = manifestOf('one', ['one', 'promoted', 40], ['two', 'retired', 20], ['three', 'pending', 10]);
  assert.equal(shown(manifest).slice(1), ['two retired 20 h ago', 'three pending 10 h ago']);
});

test('"list" and "status" have the same words for what a key does', () => {
  const states = ['promoted', 'promoted', 'pending', 'retired'].map((state, index) => ({ id: String(index), state }));
  assert.equal(
    states.map((key) => roleOf(key, '0')),
    ['primary', 'decrypt-only', 'pending', 'retired'],
  );
});

test('a dry run shows no id of a key or keyset that will never be', () => {
  const before = manifestOf('one', ['one', 'promoted', 40]);
  const after = manifestOf('one', ['one', 'promoted', 40], ['made-up', 'pending', 0]);
  const planned = withoutNewIds({ before, after, keyId: 'made-up' });
  assert.is(planned.keyId, '(new)');
  assert.not.match(JSON.stringify(summary(planned.after)), 'made-up');
  assert.match(list(planned.after), /^\(new\) +pending/m);
  const first = withoutNewIds({
    before: undefined,
    after: manifestOf('made-up', ['made-up', 'promoted', 0]),
    keyId: 'made-up',
  });
  assert.not.match(JSON.stringify(summary(first.after)), /made-up|abab|sha256/);
  assert.match(list(first.after), /^\(new\) +primary/m);
});

test.run();
