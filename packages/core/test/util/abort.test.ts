import { FakeClock, rejectsWithCode, settle } from '@teapot-kms/testing';
import { getEventListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { abortError, unlessAborted, timeoutSignal } from '../../src/util/abort.ts';
import { KmsError } from '../../src/errors.ts';
import { impatient, patient } from '../support/context.ts';

test('a caller who gave up is told apart from a deadline that passed', async () => {
  assert.is(abortError(AbortSignal.abort()).code, 'ERR_KMS_CANCELLED');
  assert.is(abortError(AbortSignal.abort('for a reason')).code, 'ERR_KMS_CANCELLED');
  const timeout = AbortSignal.timeout(1);
  // Such a signal does not keep the process alive.
  await sleep(20);
  assert.is(abortError(timeout).code, 'ERR_KMS_DEADLINE_EXCEEDED');
});

test('a reason of our own is passed on as it is', () => {
  const reason = new KmsError('ERR_KMS_CLOSED', 'x');
  assert.is(abortError(AbortSignal.abort(reason)), reason);
});

test('without an abort the promise’s own outcome comes through', async () => {
  assert.is(await unlessAborted(Promise.resolve(7), patient.signal), 7);
  const failure = Promise.reject(new KmsError('ERR_KMS_CLOSED', 'x'));
  await rejectsWithCode(() => unlessAborted(failure, patient.signal), 'ERR_KMS_CLOSED');
});

test('an abort ends the wait at once, the work goes on', async () => {
  const { signal, giveUp } = impatient();
  const { promise, resolve } = Promise.withResolvers<number>();
  const waiting = unlessAborted(promise, signal);
  giveUp();
  await rejectsWithCode(() => waiting, 'ERR_KMS_CANCELLED');
  resolve(7);
  assert.is(await promise, 7);
});

test('who has given up before gets an error even where the result is there', async () => {
  await rejectsWithCode(() => unlessAborted(Promise.resolve(1), AbortSignal.abort()), 'ERR_KMS_CANCELLED');
});

test('a failure that comes after the abort ends nothing but itself', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  const { signal, giveUp } = impatient();
  const failures = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
  const before = unlessAborted(failures[0]!.promise, AbortSignal.abort()).catch(() => undefined);
  const after = unlessAborted(failures[1]!.promise, signal).catch(() => undefined);
  giveUp();
  await Promise.all([before, after]);
  for (const failure of failures) failure.reject(new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'late'));
  await settle();
  process.off('unhandledRejection', note);
  assert.equal(unhandled, []);
});

test('what comes too late is handed to who discards it, what comes in time is not', async () => {
  const discarded: number[] = [];
  const { signal, giveUp } = impatient();
  const late = Promise.withResolvers<number>();
  assert.is(await unlessAborted(Promise.resolve(1), signal, (value) => discarded.push(value)), 1);
  const waiting = unlessAborted(late.promise, signal, (value) => discarded.push(value));
  giveUp();
  await rejectsWithCode(() => waiting, 'ERR_KMS_CANCELLED');
  late.resolve(2);
  await settle();
  assert.equal(discarded, [2]);
});

test('no listener is left on a signal that lives on', async () => {
  const { signal } = impatient();
  for (let i = 0; i < 5; i++) await unlessAborted(Promise.resolve(i), signal);
  await settle();
  assert.is(getEventListeners(signal, 'abort').length, 0);
});

test('a timeout signal aborts as a deadline that passed, by the given clock', async () => {
  const clock = new FakeClock();
  const signal = timeoutSignal(clock, 100);
  await clock.advance(99);
  assert.not.ok(signal.aborted);
  await clock.advance(1);
  assert.is(abortError(signal).code, 'ERR_KMS_DEADLINE_EXCEEDED');
});

test.run();
