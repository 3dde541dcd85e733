import { FakeClock } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { pacer } from '../src/pacer.ts';

/** Objects that eight workers do in so many ms, each without any time of its own. */
async function doneIn(clock: FakeClock, pace: (objects: number) => Promise<void>, ms: number): Promise<number> {
  const end = clock.now() + ms;
  let done = 0;
  const work = async (): Promise<void> => {
    while (clock.now() < end) {
      await pace(1);
      if (clock.now() <= end) done++;
    }
  };
  const all = Array.from({ length: 8 }, work);
  await clock.advance(ms + 10_000);
  await Promise.all(all);
  return done;
}

test('workers together keep the rate', async () => {
  const clock = new FakeClock();
  assert.is(await doneIn(clock, pacer(clock, 10), 60_000), 600);
});

test('after a stall, the rate is the same', async () => {
  const clock = new FakeClock();
  const pace = pacer(clock, 10);
  await doneIn(clock, pace, 10_000);
  await clock.advance(60_000);
  const done = await doneIn(clock, pace, 1_000);
  assert.ok(done <= 11, `${done} objects in a second`);
});

test('time that work takes counts: a page that was read slowly is not waited for', async () => {
  const clock = new FakeClock();
  const pace = pacer(clock, 10);
  await clock.advance(1_000);
  const before = clock.now();
  await pace(10);
  assert.is(clock.now(), before);
});

test('without a limit nobody waits', async () => {
  const clock = new FakeClock();
  await pacer(clock, Infinity)(1_000_000);
  assert.is(clock.now(), new FakeClock().now());
});

test.run();
