import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { growsSteadily, growthOf } from '../../src/heap/growth.ts';

const LIMIT = 1;
const ROUNDS = 11;
const samples = (at: (round: number) => number): number[] =>
  Array.from({ length: ROUNDS }, (_, round) => 100 + at(round));
const grows = (at: (round: number) => number): boolean => growsSteadily(growthOf(samples(at)), LIMIT);
/** Fixed noise without a trend. */
const NOISE = [3, -4, 1, 5, -2, -5, 2, 4, -3, 0, -1];

test('a leak grows steadily, with and without noise', () => {
  assert.ok(grows((round) => 2 * round));
  assert.ok(grows((round) => 2 * round + NOISE[round]!));
});

test('noise of any size does not grow steadily', () => assert.not.ok(grows((round) => 50 * NOISE[round]!)));

test('memory that fills up and then stays does not grow steadily', () => {
  assert.not.ok(grows((round) => Math.min(round, 4) * 20));
  assert.not.ok(grows((round) => 60 * (1 - Math.exp(-round))));
});

test('growth below the limit is no steady growth', () => assert.not.ok(grows((round) => 0.5 * round)));

test('a single step up is no steady growth', () => assert.not.ok(grows((round) => (round > 7 ? 100 : 0))));

test('shrinking is no steady growth', () => assert.not.ok(grows((round) => -2 * round)));

test('an outlier does not move the slope', () => {
  const { slope } = growthOf(samples((round) => (round === 3 ? 10_000 : 2 * round)));
  assert.ok(Math.abs(slope - 2) < 0.5, `${slope}`);
});

test.run();
