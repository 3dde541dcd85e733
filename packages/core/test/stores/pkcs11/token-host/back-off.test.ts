import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BackOff } from '../../../../src/stores/pkcs11/token-host/back-off.ts';

test('what has never ended need not wait, nor does the first new start', () => {
  const backOff = new BackOff();
  assert.ok(backOff.waitMs(5) <= 0);
  assert.is(backOff.ended(100, 0), 0);
  assert.ok(backOff.waitMs(100) <= 0);
});

test('waits double up to half a minute', () => {
  const backOff = new BackOff();
  const waits = Array.from({ length: 2_000 }, (_, at) => backOff.ended(at, at));
  assert.equal(waits.slice(0, 11), [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  assert.is(waits.at(-1), 30_000);
});

test('the real wait is a quarter shorter or longer, so that hosts do not start in step', () => {
  const real = Array.from({ length: 200 }, () => {
    const backOff = new BackOff();
    backOff.ended(0, 0);
    backOff.ended(0, 0);
    return backOff.waitMs(0);
  });
  assert.ok(real.every((wait) => wait >= 187.5 && wait <= 312.5));
  assert.ok(new Set(real).size > 100);
});

test('after a minute of life the waits begin anew', () => {
  const backOff = new BackOff();
  for (let i = 0; i < 5; i++) backOff.ended(i, i);
  assert.is(backOff.ended(60_001, 0), 0);
  assert.is(backOff.ended(60_002, 60_001), 250);
});

test.run();
