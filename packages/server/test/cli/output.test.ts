import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { age } from '../../src/cli/output.ts';

for (const [ms, shown] of [
  [0, '0 s'],
  [119_000, '119 s'],
  [3_600_000, '60 min'],
  [86_400_000, '24 h'],
  [5 * 86_400_000, '5 d'],
  // A key that was made while the clock was a year ahead.
  [-31_535_999_000, '365 d in the future'],
] as const) {
  test(`${ms} ms are ${shown}`, () => assert.is(age(ms), shown));
}

test.run();
