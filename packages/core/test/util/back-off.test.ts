import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { backOffMs } from '../../src/util/back-off.ts';

const test = suite('back-off');
const options = { firstMs: 100, longestMs: 1_000 };
const middle = () => 0.5;

test('without a failure there is no wait', () => {
  assert.is(backOffMs(0, options), 0);
});

test('the wait doubles with each failure, up to the longest', () => {
  const waits = [1, 2, 3, 4, 5, 100, 2_000].map((failures) => backOffMs(failures, options, middle));
  assert.equal(waits, [100, 200, 400, 800, 1_000, 1_000, 1_000]);
});

test('the jitter is a quarter each way', () => {
  assert.is(
    backOffMs(1, options, () => 0),
    75,
  );
  assert.ok(backOffMs(1, options, () => 0.999_999) < 125);
});

test.run();
