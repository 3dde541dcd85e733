import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FIGURES } from '../../src/figures.ts';
import { differences, GENERATED_DIRECTORY, renderReport, REPORT, TABLES } from '../../src/report/report.ts';
import type { Results } from '../../src/results.ts';

const SCENARIOS = [
  { name: 'load', about: 'a storm' },
  { name: 'memory', about: 'what it holds' },
];
const TEXT = 'By hand.\n<!-- machine -->\n<!-- /machine -->\n<!-- figures -->\n<!-- /figures -->\n';
const CHART = `${GENERATED_DIRECTORY}/storm-timeline.svg`;

const RESULTS: Results = {
  date: '2026-11-25T19:00:00Z',
  commit: 'abcdef',
  machine: { cpu: 'EPYC', cores: 2, memoryGb: 24, kernel: '6.1', node: 'v26.10.0', go: '1.26.8' },
  baselineCommit: '012345',
  figures: [
    {
      scenario: 'load',
      id: 'start-ms',
      value: 310,
      unit: 'ms',
      floor: 400,
      goal: 100,
      baseline: 390,
      samples: [300, 310, 320],
    },
    { scenario: 'load', id: 'rps-ratio-100', value: 0.1, unit: '×', floor: 0.15, goal: 1.4, samples: [0.1] },
  ],
  measurements: [{ scenario: 'load', name: 'CPU of a call', unit: 'µs', samples: [88, 90, 92] }],
  series: [
    {
      scenario: 'load',
      chart: 'storm-timeline',
      name: 'warm',
      points: [
        [0, 0],
        [5, 100],
      ],
    },
  ],
  tables: [{ scenario: 'memory', name: 'Heap', columns: ['calls', 'MB'], rows: [[100_000, 21]] }],
  unfinished: [{ scenario: 'barbican', outcome: 'SKIPPED', reason: 'no OpenStack' }],
};

const report = (results: Results | undefined = RESULTS, text = TEXT): Map<string, string> =>
  renderReport(text, results, SCENARIOS);
const markdown = (results?: Results): string => report(results).get(REPORT)!;
const tables = (results?: Results): string => report(results).get(TABLES)!;
const rowOf = (id: string): string =>
  markdown()
    .split('\n')
    .find((line) => line.startsWith(`| \`${id}\``))!;

test('a figure has its noise, bounds, baseline, verdict and scenario', () => {
  const cells = rowOf('start-ms').replaceAll('\u00a0', ' ').split(' | ').slice(2);
  assert.equal(cells, ['**310 ms**', '±3.2 % (3)', '≤ 400 ms', '≤ 100 ms', '390 ms', 'floor met', '`load` |']);
});

test('a figure below its floor is marked', () => assert.match(rowOf('rps-ratio-100'), '**BELOW THE FLOOR**'));

test('every promised figure has a row, and an unmeasured one is marked', () => {
  for (const id of Object.keys(FIGURES)) assert.ok(rowOf(id), id);
  assert.match(rowOf('node-reboot'), '**NOT MEASURED**');
});

test('a skipped scenario is listed with its reason', () =>
  assert.match(markdown(), '**SKIPPED** `barbican`: no OpenStack'));

test('measurements and tables are in the section of their scenario, and not in the report', () => {
  const [load, memory] = tables().split('## memory') as [string, string];
  assert.match(load, '| CPU of a call | 90 | µs | ±2.2 % | 3 |');
  assert.match(memory, '| calls | MB |');
  assert.not.match(load, '| calls | MB |');
  assert.not.match(markdown(), 'CPU of a call');
});

test('both files name machine and commits', () => {
  for (const text of [markdown(), tables()]) {
    assert.match(text, /2026-11-25 at commit `abcdef` on: EPYC, 2 cores, 24 GB.*Node 26\.10\.0.*`012345`/);
  }
});

test('each chart is a file, and a chart without data is marked', () => {
  assert.match(report().get(CHART)!, '<svg ');
  assert.match(tables(), '](storm-timeline.svg)');
  assert.match(tables(), '**NOT MEASURED: How long a Decrypt takes at a fixed rate.**');
  assert.equal([...report().keys()], [REPORT, TABLES, CHART]);
});

test('without results both files say that nothing was measured', () => {
  const files = renderReport(TEXT, undefined, SCENARIOS);
  for (const path of [REPORT, TABLES]) assert.match(files.get(path)!, 'Nothing has been measured yet');
});

test('rendering twice changes nothing', () => assert.equal(report(RESULTS, markdown()), report()));

test('an unknown block and a missing block are errors', () => {
  assert.throws(() => report(RESULTS, `${TEXT}<!-- gone -->\n<!-- /gone -->\n`), /unknown block/);
  assert.throws(() => report(RESULTS, TEXT.replaceAll('figures', 'machine')), /has no block <!-- figures/);
});

test('changed, missing and superfluous files are differences', () => {
  const found = new Map(report());
  assert.equal(differences(report(), found), []);
  found.set(REPORT, markdown().replace('**310', '**301'));
  found.delete(CHART);
  found.set(`${GENERATED_DIRECTORY}/old.svg`, '<svg/>');
  assert.equal(differences(report(), found), [REPORT, `${GENERATED_DIRECTORY}/old.svg`, CHART]);
});

test.run();
