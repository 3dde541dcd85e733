import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { growsSteadily, growthOf } from '../../src/heap/growth.ts';

const LIMIT = 1;
const ROUNDS = 11;
const samples = (at: (round: number) => number): number[] =>
  Array.from({ length: ROUNDS }, (_, round) => 100 + at(round));
const grows = (at: (round: number) => number): boolean => growsSteadily(growthOf(samples(at)), LIMIT);
/** The same each time, and without a trend. */
const NOISE = [3, -4, 1, 5, -2, -5, 2, 4, -3, 0, -1];

test('a leak grows steadily, also where noise lies on it', () => {
  assert.ok(grows((round) => 2 * round));
  assert.ok(grows((round) => 2 * round + NOISE[round]!));
});

test('noise does not, however large', () => assert.not.ok(grows((round) => 50 * NOISE[round]!)));

test('what fills up and then stays does not', () => {
  assert.not.ok(grows((round) => Math.min(round, 4) * 20));
  assert.not.ok(grows((round) => 60 * (1 - Math.exp(-round))));
});

test('what grows by less than the limit does not', () => assert.not.ok(grows((round) => 0.5 * round)));

test('a single step up does not', () => assert.not.ok(grows((round) => (round > 7 ? 100 : 0))));

test('shrinking does not', () => assert.not.ok(grows((round) => -2 * round)));

test('one sample that is off does not move the slope', () => {
  const { slope } = growthOf(samples((round) => (round === 3 ? 10_000 : 2 * round)));
  assert.ok(Math.abs(slope - 2) < 0.5, `${slope}`);
});

test.run();
