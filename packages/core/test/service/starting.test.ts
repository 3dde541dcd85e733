import { FakeClock, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Starting } from '../../src/service/starting.ts';

test('nothing is pending before the start', () => {
  assert.is(new Starting(new FakeClock()).pending, undefined);
});

for (const [how, answer] of [
  ['well', () => Promise.resolve()],
  ['badly', () => Promise.reject(new Error('store'))],
] as const) {
  test(`calls go on as soon as the store has answered, ${how}`, async () => {
    const clock = new FakeClock();
    const starting = new Starting(clock);
    starting.until(answer());
    assert.instance(starting.pending, Promise);
    await starting.pending;
    assert.is(starting.pending, undefined);
    assert.is(clock.pending, 0);
  });
}

test('calls go on after a second where the store does not answer', async () => {
  const clock = new FakeClock();
  const starting = new Starting(clock);
  starting.until(new Promise(() => undefined));
  let waiting = true;
  void starting.pending?.then(() => (waiting = false));
  await clock.advance(999);
  assert.ok(waiting);
  await clock.advance(1);
  await settle();
  assert.not.ok(waiting);
  assert.is(starting.pending, undefined);
});

test.run();
