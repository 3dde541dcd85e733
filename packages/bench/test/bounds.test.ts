import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ALLOCATIONS, limitOf, RATIOS } from '../src/gate/bounds.ts';
import { microCases } from '../src/micro/cases.ts';

test('a counter must not grow', () => {
  assert.is(limitOf({ measured: 40, noise: 0 }), 40);
});

test('a ratio may grow by its noise, or by 15 % if its noise is less', () => {
  assert.is(limitOf({ measured: 2, noise: 0.25 }), 2.5);
  assert.is(limitOf({ measured: 2, noise: 0.01 }), 2.3);
});

test('a small part of a call may grow by an amount that is negligible for the call', () => {
  assert.is(limitOf({ measured: 0.01, noise: 0.1 }), 0.02);
});

test('every case with a bound is measured', async () => {
  const { comparisons, close } = await microCases();
  const names = new Set(comparisons.map(({ name }) => name));
  for (const name of [...Object.keys(RATIOS), ...Object.keys(ALLOCATIONS)]) assert.ok(names.has(name), name);
  await close();
});

test.run();
