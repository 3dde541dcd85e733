import { FIGURES, verdict } from './figures.ts';
import type { FigureId } from './figures.ts';
import { without } from './results.ts';
import type { ChartName, Figure, Measurement, Recorded, Series, Table, Unfinished } from './results.ts';
import { median, spread } from './statistics.ts';

/** Collects the results of scenarios and prints them as they arrive. */
export class Recorder implements Recorded {
  readonly figures: Figure[] = [];
  readonly measurements: Measurement[] = [];
  readonly series: Series[] = [];
  readonly tables: Table[] = [];
  readonly unfinished: Unfinished[] = [];
  readonly #baseline: ReadonlyMap<string, number>;
  readonly #print: (line: string) => void;
  #scenario = '';

  /** @param baseline - earlier values of figures, by id */
  constructor(baseline: ReadonlyMap<string, number> = new Map(), print: (line: string) => void = console.log) {
    this.#baseline = baseline;
    this.#print = print;
  }

  /** Starts a scenario. All later results belong to it. */
  begin(scenario: string): void {
    this.#scenario = scenario;
    this.#print(`\n=== ${scenario}`);
  }

  /** Marks the current scenario as skipped or failed. Its results are discarded. */
  giveUp(outcome: Unfinished['outcome'], reason: string): void {
    this.unfinished.push({ scenario: this.#scenario, outcome, reason });
  }

  recorded(): Recorded {
    const left = without(
      this,
      this.unfinished.map(({ scenario }) => scenario),
    );
    return { ...left, unfinished: this.unfinished };
  }

  /** Records one of {@link FIGURES}. Each sample is one run; the value is their median. */
  figure(id: FigureId, samples: readonly number[]): void {
    const target = FIGURES[id];
    const value = median(samples);
    const baseline = this.#baseline.get(id);
    this.figures.push({
      scenario: this.#scenario,
      id,
      value,
      unit: target.unit,
      floor: target.floor,
      goal: target.goal,
      ...(baseline !== undefined && { baseline }),
      samples,
    });
    const bounds = `floor ${target.floor}, goal ${target.goal}`;
    this.#print(`FIGURE ${id}: ${show(value)} ${target.unit} (${bounds}): ${verdict(target, value)}`);
  }

  /** Records any other measurement, for the tables. */
  measured(name: string, unit: string, samples: readonly number[]): void {
    this.measurements.push({ scenario: this.#scenario, name, unit, samples });
    const noise = samples.length > 1 ? ` (${noiseOf(samples)} over ${samples.length})` : '';
    this.#print(`  ${name}: ${show(median(samples))} ${unit}${noise}`);
  }

  /** Records a line of a chart. `report/charts.ts` defines the axes. */
  line(chart: ChartName, name: string, points: Series['points']): void {
    this.series.push({ scenario: this.#scenario, chart, name, points });
  }

  table(name: string, columns: readonly string[], rows: Table['rows']): void {
    this.tables.push({ scenario: this.#scenario, name, columns, rows });
    this.#print(`  ${name}`);
    for (const row of [columns, ...rows]) this.#print(`    ${row.map((cell) => String(cell).padEnd(14)).join(' ')}`);
  }
}

/** Formats a number with three significant digits. */
export function show(value: number): string {
  return value.toLocaleString('en-US', { maximumSignificantDigits: 3 });
}

/** Formats half the spread of the samples, such as `±3 %`. */
export function noiseOf(samples: readonly number[]): string {
  const share = spread(samples) * 50;
  return `±${Number.isFinite(share) ? share.toPrecision(2) : '0'} %`;
}
