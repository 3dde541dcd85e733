import { CHARTS } from '../results.ts';
import type { ChartName, Results } from '../results.ts';
import type { Scenario } from '../scenario.ts';
import { blockNames, fillBlocks } from './blocks.ts';
import { renderChart } from './chart.ts';
import { CHART_STYLES } from './charts.ts';
import { figuresTable, machineText, scenarioText } from './sections.ts';

/** Where BENCHMARKS.md finds its charts. */
export const CHART_DIRECTORY = 'docs/benchmarks';

type Described = Pick<Scenario, 'name' | 'about'>;

/**
 * BENCHMARKS.md and the charts as `results` have them, by their path. Blocks of the text: `machine`, `figures`, `chart NAME`,
 * `scenario NAME`, and `scenarios` for all that have no block of their own.
 *
 * @param text - BENCHMARKS.md as it is
 * @throws Error where the text has a block that nothing fills, or no place for something that was measured
 */
export function renderReport(
  text: string,
  results: Results | undefined,
  scenarios: readonly Described[],
): Map<string, string> {
  const files = new Map<string, string>();
  const own = blockNames(text);
  const apart = scenarios.filter(({ name }) => !own.includes(`scenario ${name}`));
  for (const block of ['machine', 'figures', 'scenarios', ...CHARTS.map((name) => `chart ${name}`)]) {
    if (!own.includes(block)) throw new Error(`BENCHMARKS.md has no <!-- ${block} -->`);
  }

  const chart = (name: ChartName): string => {
    const series = (results?.series ?? []).filter((one) => one.chart === name);
    const svg = renderChart(CHART_STYLES[name], series);
    const { title } = CHART_STYLES[name];
    if (svg === undefined) return `**NOT MEASURED: ${title}.**`;
    const file = `${CHART_DIRECTORY}/${name}.svg`;
    files.set(file, svg);
    const from = [...new Set(series.map(({ scenario }) => scenario))].join(' ');
    return `![${title}](${file})\n\nAgain: \`npm run bench -- --write ${from}\``;
  };

  const render = (block: string): string => {
    const [kind = '', name = ''] = block.split(' ');
    if (block === 'machine') return machineText(results);
    if (block === 'figures') return figuresTable(results);
    if (block === 'scenarios') return apart.map((one) => scenarioText(one, results, '###')).join('\n\n');
    const scenario = scenarios.find((one) => kind === 'scenario' && one.name === name);
    if (scenario) return scenarioText(scenario, results);
    const chartName = CHARTS.find((one) => kind === 'chart' && one === name);
    if (chartName) return chart(chartName);
    throw new Error(`BENCHMARKS.md has a block that nothing fills: <!-- ${block} -->`);
  };
  return files.set('BENCHMARKS.md', fillBlocks(text, render));
}

/** Paths of files that are not as they should be; what is not in `wanted` should not be there. */
export function differences(wanted: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): string[] {
  return [...new Set([...wanted.keys(), ...found.keys()])]
    .filter((path) => wanted.get(path) !== found.get(path))
    .sort();
}
