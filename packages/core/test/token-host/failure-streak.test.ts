import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FailureStreak } from '../../src/token-host/failure-streak.ts';

const [one, two] = [{}, {}];

function fail(streak: FailureStreak, owner: object, times: number): void {
  for (let i = 0; i < times; i++) streak.note(owner, false);
}

test('five failures in a row are beyond hope, four or interrupted ones are not', () => {
  const streak = new FailureStreak();
  fail(streak, one, 4);
  assert.not(streak.hopeless);
  streak.note(one, true);
  fail(streak, one, 4);
  assert.not(streak.hopeless);
  fail(streak, one, 1);
  assert.ok(streak.hopeless);
});

test('there is hope while it works for somebody else, until it fails for them too', () => {
  const streak = new FailureStreak();
  streak.note(two, true);
  fail(streak, one, 20);
  assert.not(streak.hopeless);
  fail(streak, two, 1);
  assert.ok(streak.hopeless);
});

test('one who is gone gives no hope, whatever still arrives for them', () => {
  const streak = new FailureStreak();
  streak.note(two, true);
  streak.forget(two);
  streak.note(two, true);
  fail(streak, one, 5);
  assert.ok(streak.hopeless);
});

test.run();
