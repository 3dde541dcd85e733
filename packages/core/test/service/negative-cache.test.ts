import { FakeClock } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NegativeCache } from '../../src/service/negative-cache.ts';

test('an id is remembered for its time and no longer', async () => {
  const clock = new FakeClock();
  const cache = new NegativeCache(clock, 5_000);
  assert.not.ok(cache.has('a'));
  assert.ok(cache.add('a'));
  assert.ok(cache.has('a'));
  assert.not.ok(cache.has('b'));
  await clock.advance(4_999);
  assert.ok(cache.has('a'));
  await clock.advance(1);
  assert.not.ok(cache.has('a'));
});

test('adding what is there is no news and does not prolong it', async () => {
  const clock = new FakeClock();
  const cache = new NegativeCache(clock, 5_000);
  cache.add('a');
  await clock.advance(4_000);
  assert.not.ok(cache.add('a'));
  await clock.advance(1_000);
  assert.not.ok(cache.has('a'));
  assert.ok(cache.add('a'));
});

test('of many ids the oldest are forgotten, so that requests cannot fill the memory', () => {
  const cache = new NegativeCache(new FakeClock(), 5_000);
  for (let i = 0; i < 100_000; i++) cache.add(`id-${String(i)}`);
  assert.not.ok(cache.has('id-98999'));
  assert.ok(cache.has('id-99000'));
  assert.ok(cache.has('id-99999'));
});

test.run();
