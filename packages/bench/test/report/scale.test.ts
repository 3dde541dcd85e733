import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { scaleFor } from '../../src/report/scale.ts';
import type { Scale } from '../../src/report/scale.ts';

const labels = ({ ticks }: Scale): string[] => ticks.map(({ label }) => label);

test('a vertical axis starts at 0 and ends at the next round number above the data', () => {
  const scale = scaleFor('linear', [7_000, 71_234], true);
  assert.equal(labels(scale), ['0', '20,000', '40,000', '60,000', '80,000']);
  assert.is(scale.at(40_000), 0.5);
});

test('a round maximum is the end of the axis', () =>
  assert.equal(labels(scaleFor('linear', [10], true)), ['0', '2', '4', '6', '8', '10']));

test('a horizontal axis ends at the maximum', () => {
  const scale = scaleFor('linear', [0, 2.9], false);
  assert.is(scale.at(2.9), 1);
  assert.equal(labels(scale), ['0', '1', '2']);
});

test('data of zeros gets an axis to 1', () => {
  const scale = scaleFor('linear', [0, 0], true);
  assert.is(scale.at(0), 0);
  assert.is(labels(scale).at(-1), '1');
});

test('steps are 1, 2, 2.5 or 5 times a power of ten, without rounding errors', () => {
  assert.equal(labels(scaleFor('linear', [0.3], true)), ['0', '0.1', '0.2', '0.3']);
  assert.equal(labels(scaleFor('linear', [0.6], true)), ['0', '0.2', '0.4', '0.6']);
});

test('a logarithmic axis has a tick at 1, 2 and 5 of each power of ten', () =>
  assert.equal(labels(scaleFor('log', [1, 256], false)), ['1', '2', '5', '10', '20', '50', '100', '200']));

test('a logarithmic axis over many powers of ten has a tick at each power only', () =>
  assert.equal(labels(scaleFor('log', [0.1, 10_000], true)), ['0.1', '1', '10', '100', '1,000', '10,000']));

test('a logarithmic axis has no position for 0', () => {
  const scale = scaleFor('log', [0, 1, 100], true);
  assert.is(scale.at(0), undefined);
  assert.is(scale.at(10), 0.5);
});

test('a single value is in the middle of a logarithmic axis', () =>
  assert.ok(Math.abs(scaleFor('log', [100], false).at(100)! - 0.5) < 1e-9));

test('auto is logarithmic if small values would coincide with 0', () => {
  assert.is(scaleFor('auto', [5_000, 70_000], true).logarithmic, undefined);
  assert.is(scaleFor('auto', [3, 70_000], true).logarithmic, true);
  assert.is(scaleFor('auto', [0, 70_000], true).logarithmic, undefined);
});

test('each further nine of a percentile takes the same length', () => {
  const scale = scaleFor('percentile', [0, 50, 90, 99, 99.9], false);
  const near = (value: number, at: number): void => assert.ok(Math.abs(scale.at(value)! - at) < 1e-9, `${value}`);
  near(0, 0);
  near(90, 1 / 3);
  near(99, 2 / 3);
  near(99.9, 1);
  assert.equal(labels(scale), ['0 %', '50 %', '90 %', '99 %', '99.9 %']);
});

test('the 100th percentile has no position and does not extend the axis', () => {
  const scale = scaleFor('percentile', [50, 99, 100], false);
  assert.is(scale.at(100), undefined);
  assert.is(scale.at(99), 1);
});

test.run();
