import { FakeClock, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { OpeningKey } from '../../../src/envelope/envelope.ts';
import { KekCache } from '../../../src/service/local-kek/kek-cache.ts';

function make(cacheEntries = 10) {
  const clock = new FakeClock();
  return { clock, cache: new KekCache({ clock, cacheEntries, softAgeMs: 100, hardAgeMs: 1_000 }) };
}

function fakeKek(): OpeningKey & { destroyed: number } {
  const [open, openBy] = [() => Buffer.alloc(1), () => Promise.resolve(Buffer.alloc(1))];
  const kek = { destroyed: 0, open, openBy, destroy: () => (kek.destroyed += 1) };
  return kek;
}

test('an entry is fresh, then stale, then gone and destroyed', async () => {
  const { cache, clock } = make();
  const kek = fakeKek();
  cache.set('a', kek);
  await clock.advance(99);
  assert.equal(cache.get('a')?.stale, false);
  await clock.advance(1);
  assert.is(cache.get('a')?.kek, kek);
  assert.equal(cache.get('a')?.stale, true);
  await clock.advance(900);
  assert.is(cache.get('a'), undefined);
  await settle();
  assert.is(kek.destroyed, 1);
});

test('what falls out is destroyed, but not in the turn in which somebody may still use it', async () => {
  const { cache } = make(1);
  const [first, second] = [fakeKek(), fakeKek()];
  cache.set('a', first);
  cache.set('b', second);
  await Promise.resolve();
  assert.is(first.destroyed, 0);
  await settle();
  assert.equal([first.destroyed, second.destroyed, cache.evictions, cache.size], [1, 0, 1, 1]);
});

test('the one that was used longest ago falls out', () => {
  const { cache } = make(2);
  cache.set('a', fakeKek());
  cache.set('b', fakeKek());
  cache.get('a');
  cache.set('c', fakeKek());
  assert.equal([cache.get('a') !== undefined, cache.get('b') !== undefined], [true, false]);
});

test('an entry that is replaced is destroyed and is no eviction', async () => {
  const { cache } = make();
  const [first, second] = [fakeKek(), fakeKek()];
  cache.set('a', first);
  cache.set('a', second);
  await settle();
  assert.equal([first.destroyed, second.destroyed, cache.evictions], [1, 0, 0]);
});

test('a sweep destroys what is too old and nothing else', async () => {
  const { cache, clock } = make();
  const [old, young] = [fakeKek(), fakeKek()];
  cache.set('old', old);
  await clock.advance(500);
  cache.set('young', young);
  await clock.advance(500);
  cache.sweep();
  await settle();
  assert.equal([old.destroyed, young.destroyed, cache.size], [1, 0, 1]);
});

test('a sweep does not count as use', async () => {
  const { cache } = make(2);
  cache.set('a', fakeKek());
  cache.set('b', fakeKek());
  cache.sweep();
  cache.set('c', fakeKek());
  assert.is(cache.get('a'), undefined);
  await settle();
});

test('clear destroys all', async () => {
  const { cache } = make();
  const keks = Array.from({ length: 5 }, fakeKek);
  keks.forEach((kek, index) => cache.set(String(index), kek));
  cache.clear();
  await settle();
  assert.ok(keks.every((kek) => kek.destroyed === 1));
  assert.is(cache.size, 0);
});

test('wrapped forms and key ids are told apart, whatever they hold', () => {
  const inputs: [string, string][] = [
    ['a', 'x'],
    ['a', 'y'],
    ['b', 'x'],
    ['a', ''],
    ['a-x', ''],
  ];
  const keys = new Set(inputs.map(([keyId, wrapped]) => KekCache.keyOf(keyId, Buffer.from(wrapped))));
  assert.is(keys.size, inputs.length);
});

test.run();
