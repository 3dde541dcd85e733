import { FIGURES, verdict } from '../figures.ts';
import type { FigureId, FigureTarget } from '../figures.ts';
import { describeMachine } from '../machine.ts';
import { noiseOf, show } from '../recorder.ts';
import type { Results } from '../results.ts';
import type { Scenario } from '../scenario.ts';
import { median } from '../statistics.ts';
import { markdownTable } from './blocks.ts';

export function machineText(results: Results | undefined): string {
  if (!results) return '**Nothing has been measured yet.**';
  const { date, commit, machine, baselineCommit } = results;
  const before =
    baselineCommit === undefined ? '' : ` *Before* is commit \`${baselineCommit}\`, measured on the same machine.`;
  const dirty = commit.endsWith('+') ? ' **with changes that are in no commit**' : '';
  return `Measured on ${date.slice(0, 10)} at commit \`${commit.replace('+', '')}\`${dirty} on: ${describeMachine(machine)}.${before}`;
}

/** A row for each promised figure, measured or not, and a line for each scenario that did not finish. */
export function figuresTable(results: Results | undefined): string {
  const rows = (Object.keys(FIGURES) as FigureId[]).map((id) => figureRow(id, FIGURES[id], results));
  const columns = [
    'figure',
    'what',
    'value',
    'noise (runs)',
    'floor',
    'goal',
    'before',
    'verdict',
    'again: `npm run bench -- --write …`',
  ];
  return [markdownTable(columns, rows), unfinishedText(results)].filter((part) => part !== '').join('\n\n');
}

function figureRow(id: FigureId, target: FigureTarget, results: Results | undefined): string[] {
  const { about, unit, better, floor, goal } = target;
  const sign = better === 'lower' ? '≤' : '≥';
  const withUnit = (value: number): string => unbroken(unit === '×' ? show(value) : `${show(value)} ${unit}`);
  const bounds = [floor, goal].map((bound) => unbroken(`${sign} ${withUnit(bound)}`));
  const found = results?.figures.find((one) => one.id === id);
  if (!found) return [`\`${id}\``, about, '–', '–', ...bounds, '–', '**NOT MEASURED**', '–'];
  const { value, samples, baseline, scenario } = found;
  const judged = verdict(target, value);
  return [
    `\`${id}\``,
    about,
    `**${withUnit(value)}**`,
    unbroken(samples.length > 1 ? `${noiseOf(samples)} (${samples.length})` : 'one run'),
    ...bounds,
    baseline === undefined ? '–' : withUnit(baseline),
    judged === 'BELOW THE FLOOR' ? `**${judged}**` : judged,
    `\`${scenario}\``,
  ];
}

/** Replaces blanks so that a narrow column does not break the text. */
function unbroken(text: string): string {
  return text.replaceAll(' ', '\u00a0');
}

function unfinishedText(results: Results | undefined): string {
  return (results?.unfinished ?? [])
    .map(({ scenario, outcome, reason }) => `* **${outcome}** \`${scenario}\`: ${reason.split('\n')[0] ?? ''}`)
    .join('\n');
}

/** A section with what a scenario measured besides figures and charts. */
export function scenarioText({ name, about }: Pick<Scenario, 'name' | 'about'>, results: Results | undefined): string {
  const summary = `${about[0]?.toUpperCase() ?? ''}${about.slice(1)}. Again: \`npm run bench -- --write ${name}\``;
  const parts = [`## ${name}`, summary];
  const measurements = (results?.measurements ?? []).filter(({ scenario }) => scenario === name);
  if (measurements.length > 0) {
    const rows = measurements.map((one) => [
      one.name,
      show(median(one.samples)),
      one.unit,
      one.samples.length > 1 ? noiseOf(one.samples) : '–',
      one.samples.length,
    ]);
    parts.push(markdownTable(['', 'median', 'unit', 'noise', 'runs'], rows));
  }
  const tables = (results?.tables ?? []).filter(({ scenario }) => scenario === name);
  for (const table of tables) parts.push(`**${table.name}**`, markdownTable(table.columns, table.rows));
  const others = [...(results?.figures ?? []), ...(results?.series ?? [])].some(({ scenario }) => scenario === name);
  if (measurements.length + tables.length === 0 && !others) parts.push('**NOT MEASURED.**');
  return parts.join('\n\n');
}
