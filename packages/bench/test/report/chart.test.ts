import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { renderChart } from '../../src/report/chart.ts';
import { CHART_STYLES } from '../../src/report/charts.ts';
import type { Series } from '../../src/results.ts';

const style = CHART_STYLES['throughput-by-concurrency'];
const line = (name: string, ...points: [number, number][]): Series => ({
  scenario: 's',
  chart: 'throughput-by-concurrency',
  name,
  points,
});

test('data without a drawable point gives no chart', () => {
  assert.is(renderChart(style, []), undefined);
  assert.is(renderChart(style, [line('empty')]), undefined);
  assert.is(renderChart(style, [line('not numbers', [1, Number.NaN])]), undefined);
  assert.is(renderChart(style, [line('without a place', [0, 5])]), undefined);
});

test('each line has its own name, dots and colour', () => {
  const svg = renderChart(style, [line('a', [1, 10], [2, 20]), line('b', [1, 5], [2, 6])])!;
  assert.match(svg, /<g class="s0">\n<path class="line d0".*\n(<path class="dot".*\n){2}<text .*>a<\/text>/);
  assert.match(svg, /<g class="s1">[^]*>b<\/text>/);
});

test('lines of one family share a colour and differ in dashes', () => {
  const names = ['plugin', 'plugin, pkcs11:', 'reference'];
  const svg = renderChart(
    style,
    names.map((name) => line(name, [1, 1], [2, 2])),
  )!;
  const styles = [...svg.matchAll(/<g class="(s\d)">\n<path class="line (d\d)"/g)].map(([, ...classes]) =>
    classes.join(' '),
  );
  assert.equal(styles, ['s0 d0', 's0 d1', 's1 d0']);
});

test('a single point is a dot', () => {
  const svg = renderChart(style, [line('a', [100, 10])])!;
  assert.match(svg, 'class="dot"');
  assert.not.match(svg, 'class="line');
});

test('every number in a chart of extreme data is finite', () => {
  for (const points of [
    [
      [1, 0],
      [2, 0],
    ],
    [[5, 5]],
    [
      [1, 1e-9],
      [1e9, 1e9],
    ],
  ] as [number, number][][]) {
    assert.not.match(renderChart(style, [line('a', ...points)])!, /NaN|Infinity|undefined/);
  }
});

test('names are escaped', () => assert.match(renderChart(style, [line('<a & b>', [1, 1])])!, '&lt;a &amp; b&gt;'));

test('a chart supports light and dark pages and has no background', () => {
  const svg = renderChart(style, [line('a', [1, 1])])!;
  assert.match(svg, 'prefers-color-scheme:dark');
  assert.not.match(svg, '<rect');
});

test.run();
