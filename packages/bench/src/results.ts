import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FigureId } from './figures.ts';
import { describeMachine, sameMachine } from './machine.ts';
import type { Machine } from './machine.ts';

export interface Figure {
  readonly scenario: string;
  readonly id: FigureId;
  /** The median of `samples`. */
  readonly value: number;
  readonly unit: string;
  readonly floor: number;
  readonly goal: number;
  /** The same figure on this machine before the changes that a profile suggested. Absent if it was not measured. */
  readonly baseline?: number;
  readonly samples: readonly number[];
}

/** Any measurement that is not a figure. */
export interface Measurement {
  readonly scenario: string;
  readonly name: string;
  readonly unit: string;
  readonly samples: readonly number[];
}

export const CHARTS = ['throughput-by-concurrency', 'latency-percentiles', 'storm-timeline', 'pool-crossover'] as const;
export type ChartName = (typeof CHARTS)[number];

/** One line of a chart. */
export interface Series {
  readonly scenario: string;
  readonly chart: ChartName;
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Table {
  readonly scenario: string;
  readonly name: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

export interface Unfinished {
  readonly scenario: string;
  readonly outcome: 'SKIPPED' | 'FAILED';
  readonly reason: string;
}

/** The results of scenarios. */
export interface Recorded {
  readonly figures: readonly Figure[];
  readonly measurements: readonly Measurement[];
  readonly series: readonly Series[];
  readonly tables: readonly Table[];
  /** Scenarios that were skipped or failed, with the reason. They have no other results. */
  readonly unfinished: readonly Unfinished[];
}

/** The results of a run of `npm run bench`, as stored in `results/<date>-<cores>-cores.json`. */
export interface Results extends Recorded {
  readonly date: string;
  readonly commit: string;
  readonly machine: Machine;
  /** The commit at which the `baseline` of the figures was measured. */
  readonly baselineCommit?: string;
}

/** The earlier figures, as stored in `results/baseline.json`. */
export interface Baseline {
  readonly commit: string;
  readonly machine: Machine;
  readonly figures: Readonly<Record<string, number>>;
}

/** The two runs measured different code or used different machines. */
export class MergeError extends Error {
  override readonly name = 'MergeError';
}

/** Removes the results of `scenarios`. */
export function without(recorded: Recorded, scenarios: readonly string[]): Recorded {
  const kept = <T extends { scenario: string }>(list: readonly T[]): T[] =>
    list.filter(({ scenario }) => !scenarios.includes(scenario));
  return {
    figures: kept(recorded.figures),
    measurements: kept(recorded.measurements),
    series: kept(recorded.series),
    tables: kept(recorded.tables),
    unfinished: kept(recorded.unfinished),
  };
}

/**
 * Replaces the results of `scenarios` in `earlier` by those in `fresh`. A scenario that did not finish replaces nothing.
 *
 * @throws MergeError if commit or machine differ, or if there are uncommitted changes: the results would not be comparable
 */
export function merge(earlier: Results, fresh: Results, scenarios: readonly string[]): Results {
  if (!sameMachine(earlier.machine, fresh.machine)) {
    throw new MergeError(
      `they are from ${describeMachine(earlier.machine)}; this run is on ${describeMachine(fresh.machine)}`,
    );
  }
  if (earlier.commit !== fresh.commit)
    throw new MergeError(`they are from ${earlier.commit}; this run is at ${fresh.commit}`);
  if (fresh.commit.endsWith('+')) throw new MergeError('this checkout has uncommitted changes');
  const failed = fresh.unfinished.map(({ scenario }) => scenario);
  const kept = without(
    earlier,
    scenarios.filter((name) => !failed.includes(name)),
  );
  return {
    ...earlier,
    ...(fresh.baselineCommit !== undefined && { baselineCommit: fresh.baselineCommit }),
    figures: [...kept.figures, ...fresh.figures],
    measurements: [...kept.measurements, ...fresh.measurements],
    series: [...kept.series, ...fresh.series],
    tables: [...kept.tables, ...fresh.tables],
    unfinished: kept.unfinished,
  };
}

const directory = join(import.meta.dirname, '../results');
const baselineFile = join(directory, 'baseline.json');

export function writeResults(results: Results): string {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${results.date.slice(0, 10)}-${results.machine.cores}-cores.json`);
  writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`);
  return file;
}

/** Reads the newest stored results, which BENCHMARKS.md shows. */
export function latestResults(): Results | undefined {
  return globSync(join(directory, '[0-9]*.json'))
    .map((file) => JSON.parse(readFileSync(file, 'utf8')) as Results)
    .sort((a, b) => a.date.localeCompare(b.date))
    .at(-1);
}

export function readBaseline(): Baseline | undefined {
  try {
    return JSON.parse(readFileSync(baselineFile, 'utf8')) as Baseline;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Stores these figures as the baseline. Other figures of the same commit and machine are kept. */
export function writeBaseline({ commit, machine, figures }: Results): string {
  const earlier = readBaseline();
  const same = earlier?.commit === commit && sameMachine(earlier.machine, machine);
  const values = { ...(same && earlier.figures), ...Object.fromEntries(figures.map(({ id, value }) => [id, value])) };
  mkdirSync(directory, { recursive: true });
  writeFileSync(baselineFile, `${JSON.stringify({ commit, machine, figures: values } satisfies Baseline, null, 1)}\n`);
  return baselineFile;
}
