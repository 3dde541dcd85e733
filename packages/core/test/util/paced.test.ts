import { FakeClock } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { paced } from '../../src/util/paced.ts';

function setUp() {
  const clock = new FakeClock();
  const times: number[] = [];
  return { clock, times, pace: paced(clock, { burst: 3, everyMs: 100 }, () => times.push(clock.now())) };
}

test('a few calls are made at once', () => {
  const { times, pace } = setUp();
  for (let i = 0; i < 3; i++) pace.call();
  assert.equal(times, [0, 0, 0]);
});

test('of many calls one is made in each interval, and the last one is never lost', async () => {
  const { clock, times, pace } = setUp();
  for (let i = 0; i < 1_000; i++) {
    pace.call();
    await clock.advance(1);
  }
  await clock.advance(1_000);
  assert.equal(times, [0, 1, 2, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000]);
});

test('after a rest, a few calls are made at once again', async () => {
  const { clock, times, pace } = setUp();
  for (let i = 0; i < 3; i++) pace.call();
  await clock.advance(300);
  for (let i = 0; i < 3; i++) pace.call();
  assert.is(times.length, 6);
});

test('a call that waits can be cancelled', async () => {
  const { clock, times, pace } = setUp();
  for (let i = 0; i < 4; i++) pace.call();
  pace.cancel();
  await clock.advance(1_000);
  assert.is(times.length, 3);
});

test.run();
