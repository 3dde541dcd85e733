import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { median, spread } from '../src/statistics.ts';

test('the median of an odd number of samples is the middle one, whatever their order', () => {
  assert.is(median([10, 9, 100]), 10);
});

test('the median of an even number is the mean of the two in the middle', () => {
  assert.is(median([4, 1, 100, 2]), 3);
});

test('there is no median of nothing', () => {
  assert.throws(() => median([]), RangeError);
});

test('the samples that were given stay in their order', () => {
  const samples = [3, 1, 2];
  median(samples);
  assert.equal(samples, [3, 1, 2]);
});

test('the spread is how far the outermost lie apart, in medians', () => {
  assert.is(spread([9, 10, 12]), 0.3);
  assert.is(spread([5, 5]), 0);
});

test.run();
