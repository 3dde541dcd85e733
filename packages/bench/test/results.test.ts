import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Recorder } from '../src/recorder.ts';
import { merge, MergeError } from '../src/results.ts';
import type { Results } from '../src/results.ts';

const MACHINE = { cpu: 'a', cores: 2, memoryGb: 24, kernel: '6', node: 'v26.10.0', go: '1.26.0' };

function results(scenarios: readonly string[], more: Partial<Results> = {}): Results {
  const measurements = scenarios.map((scenario) => ({ scenario, name: 'x', unit: 'ms', samples: [1] }));
  const nothing = { figures: [], series: [], tables: [], unfinished: [] };
  return { date: '2026-11-25', commit: 'abc', machine: MACHINE, ...nothing, measurements, ...more };
}

const rejects = (earlier: Results, fresh: Results, why: string): void =>
  assert.throws(
    () => merge(earlier, fresh, ['b']),
    (error: Error) => error instanceof MergeError && error.message.includes(why),
  );

test('a run of one scenario replaces the earlier results of that scenario only', () => {
  const fresh = results([], { measurements: [{ scenario: 'b', name: 'y', unit: 'ms', samples: [2] }] });
  const merged = merge(results(['a', 'b', 'c']), fresh, ['b']);
  assert.equal(
    merged.measurements.map(({ scenario, name }) => scenario + name),
    ['ax', 'cx', 'by'],
  );
});

test('a failed scenario replaces nothing', () => {
  const fresh = results([], { unfinished: [{ scenario: 'b', outcome: 'FAILED', reason: 'r' }] });
  const merged = merge(results(['a', 'b']), fresh, ['b']);
  assert.equal(merged.measurements.length, 2);
  assert.equal(merged.unfinished, []);
});

test('a scenario that failed earlier and succeeds now is no longer unfinished', () => {
  const earlier = results(['a'], { unfinished: [{ scenario: 'b', outcome: 'FAILED', reason: 'r' }] });
  assert.equal(merge(earlier, results(['b']), ['b']).unfinished, []);
});

test('a merge with results of another machine is rejected', () =>
  rejects(results(['a']), results(['b'], { machine: { ...MACHINE, cores: 4 } }), '4 cores'));

test('a merge with results of another commit is rejected', () =>
  rejects(results(['a']), results(['b'], { commit: 'def' }), 'def'));

test('a merge with uncommitted changes is rejected, because the changes may differ', () =>
  rejects(results(['a'], { commit: 'abc+' }), results(['b'], { commit: 'abc+' }), 'changes'));

test('the results of a scenario that fails later are discarded', () => {
  const record = new Recorder(undefined, () => undefined);
  record.begin('a');
  record.figure('start-ms', [100]);
  record.begin('b');
  record.figure('rss-mb', [50]);
  record.giveUp('FAILED', 'it broke');
  const { figures, unfinished } = record.recorded();
  assert.equal(
    figures.map(({ id }) => id),
    ['start-ms'],
  );
  assert.equal(unfinished, [{ scenario: 'b', outcome: 'FAILED', reason: 'it broke' }]);
});

test('a figure carries its baseline', () => {
  const record = new Recorder(new Map([['start-ms', 250]]), () => undefined);
  record.begin('a');
  record.figure('start-ms', [100, 120, 110]);
  assert.equal(record.figures[0]?.value, 110);
  assert.equal(record.figures[0]?.baseline, 250);
});

test.run();
