import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FailureStreak } from '../../../../src/stores/pkcs11/token-host/failure-streak.ts';

const [one, two] = [{}, {}];
/** ms after which a process is not young any more. */
const OLD = 5_001;

function fail(streak: FailureStreak, owner: object, times: number): void {
  for (let i = 0; i < times; i++) streak.note(owner, false);
}

test('five failures in a row are beyond hope, four or interrupted ones are not', () => {
  const streak = new FailureStreak(0);
  fail(streak, one, 4);
  assert.not(streak.hopelessAt(OLD));
  streak.note(one, true);
  fail(streak, one, 4);
  assert.not(streak.hopelessAt(OLD));
  fail(streak, one, 1);
  assert.ok(streak.hopelessAt(OLD));
});

test('there is hope while it works for somebody else, until it fails for them too', () => {
  const streak = new FailureStreak(0);
  streak.note(two, true);
  fail(streak, one, 20);
  assert.not(streak.hopelessAt(OLD));
  fail(streak, two, 1);
  assert.ok(streak.hopelessAt(OLD));
});

test('one who is gone gives no hope, whatever still arrives for them', () => {
  const streak = new FailureStreak(0);
  streak.note(two, true);
  streak.forget(two);
  streak.note(two, true);
  fail(streak, one, 5);
  assert.ok(streak.hopelessAt(OLD));
});

test('a young process is given time: a new one would not know more', () => {
  const streak = new FailureStreak(1_000);
  fail(streak, one, 20);
  assert.not(streak.hopelessAt(6_000));
  assert.ok(streak.hopelessAt(6_001));
});

test.run();
