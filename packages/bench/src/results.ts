import { execFileSync } from 'node:child_process';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { FigureId } from './figures.ts';

/** What absolute numbers may only be read beside. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly node: string;
  readonly go: string | undefined;
}

export interface Figure {
  readonly id: FigureId;
  /** The median of `samples`. */
  readonly value: number;
  readonly unit: string;
  readonly floor: number;
  readonly goal: number;
  /** The same figure on this machine before the changes that a profile suggested; absent where none was measured. */
  readonly baseline?: number;
  readonly samples: readonly number[];
}

/** Anything else that was measured. */
export interface Measurement {
  readonly scenario: string;
  readonly name: string;
  readonly unit: string;
  readonly samples: readonly number[];
}

/** One line of a chart. */
export interface Series {
  readonly chart: string;
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Table {
  readonly name: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** What a run of `npm run bench` leaves: `results/<date>-<machine>.json`. */
export interface Results {
  readonly date: string;
  readonly commit: string;
  readonly machine: Machine;
  readonly figures: readonly Figure[];
  readonly measurements: readonly Measurement[];
  readonly series: readonly Series[];
  readonly tables: readonly Table[];
  /** Scenarios that could not run here, and why. */
  readonly skipped: readonly string[];
}

const directory = join(import.meta.dirname, '../results');

export function fingerprint(go: string | undefined): Machine {
  const [first] = cpus();
  return {
    cpu: first?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    go,
  };
}

/** The commit that is measured; with `+` where the checkout has changes of its own. */
export function commit(): string {
  const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8' }).trim();
  const dirty = git('status', '--porcelain', '--untracked-files=no') !== '';
  return git('rev-parse', '--short', 'HEAD') + (dirty ? '+' : '');
}

export function writeResults(results: Results): string {
  const machine = `${results.machine.cores}-cores`;
  const file = join(directory, `${results.date.slice(0, 10)}-${machine}.json`);
  writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`);
  return file;
}

/** The newest results that are kept, which BENCHMARKS.md shows. */
export function latestResults(): Results | undefined {
  const file = globSync(join(directory, '*.json')).sort().at(-1);
  return file === undefined ? undefined : (JSON.parse(readFileSync(file, 'utf8')) as Results);
}
