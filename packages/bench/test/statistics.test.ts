import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { median, spread } from '../src/statistics.ts';

test('the median of an odd number of samples is the middle one, in any order', () => {
  assert.is(median([10, 9, 100]), 10);
});

test('the median of an even number is the mean of the two in the middle', () => {
  assert.is(median([4, 1, 100, 2]), 3);
});

test('the median of no samples is an error', () => {
  assert.throws(() => median([]), RangeError);
});

test('the median does not reorder the samples', () => {
  const samples = [3, 1, 2];
  median(samples);
  assert.equal(samples, [3, 1, 2]);
});

test('the spread is the range divided by the median', () => {
  assert.is(spread([9, 10, 12]), 0.3);
  assert.is(spread([5, 5]), 0);
});

test.run();
