import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ALLOCATIONS, limitOf, RATIOS } from '../src/gate/bounds.ts';
import { microCases } from '../src/micro/cases.ts';

test('a counter may not grow at all', () => {
  assert.is(limitOf({ measured: 40, noise: 0 }), 40);
});

test('a ratio may grow by what was seen as noise, and by 15 % where that was less', () => {
  assert.is(limitOf({ measured: 2, noise: 0.25 }), 2.5);
  assert.is(limitOf({ measured: 2, noise: 0.01 }), 2.3);
});

test('what takes little of a call may grow by what a call does not notice', () => {
  assert.is(limitOf({ measured: 0.01, noise: 0.1 }), 0.02);
});

test('what has a bound is measured', async () => {
  const { comparisons, close } = await microCases();
  const names = new Set(comparisons.map(({ name }) => name));
  for (const name of [...Object.keys(RATIOS), ...Object.keys(ALLOCATIONS)]) assert.ok(names.has(name), name);
  await close();
});

test.run();
