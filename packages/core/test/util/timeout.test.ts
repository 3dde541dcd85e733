import { FakeClock, rejectsWithCode, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { unavailable } from '../../src/errors.ts';
import { unlessAborted } from '../../src/util/abort.ts';
import { resolvesWithin, withTimeout } from '../../src/util/timeout.ts';

const never = new Promise<never>(() => undefined);

test('work that hangs is aborted with an error that names it', async () => {
  const clock = new FakeClock();
  const working = withTimeout(clock, 500, 'the token', (signal) => unlessAborted(never, signal));
  let done = false;
  working.catch(() => (done = true));
  await clock.advance(499);
  assert.not.ok(done);
  await clock.advance(1);
  const error = await rejectsWithCode(() => working, 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(error.message, 'the token did not answer within 500 ms');
});

for (const [how, work] of [
  ['succeeds', () => Promise.resolve('result')],
  ['fails', () => Promise.reject(new Error('result'))],
] as const) {
  test(`work that ${how} in time leaves no timer`, async () => {
    const clock = new FakeClock();
    const outcome = await withTimeout<string>(clock, 500, 'the token', work).catch((error: unknown) => error);
    await settle();
    assert.match(String(outcome), 'result');
    assert.is(clock.pending, 0);
  });
}

test('a promise resolves within the time or does not, and a failure is passed on', async () => {
  const clock = new FakeClock();
  assert.is(await resolvesWithin(clock, 500, Promise.resolve()), true);
  const late = resolvesWithin(clock, 500, never);
  await clock.advance(500);
  assert.is(await late, false);
  await rejectsWithCode(
    () => resolvesWithin(clock, 500, Promise.reject(unavailable('x'))),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.is(clock.pending, 0);
});

test.run();
