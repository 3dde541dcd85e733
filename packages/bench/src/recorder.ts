import { FIGURES, verdict } from './figures.ts';
import type { FigureId } from './figures.ts';
import { without } from './results.ts';
import type { ChartName, Figure, Measurement, Recorded, Series, Table, Unfinished } from './results.ts';
import { median, spread } from './statistics.ts';

/** What scenarios tell what they measured; prints it as it comes. */
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

  /** All that follows belongs to this scenario. */
  begin(scenario: string): void {
    this.#scenario = scenario;
    this.#print(`\n=== ${scenario}`);
  }

  /** The scenario that began cannot run here, or failed; what it has recorded does not count. */
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

  /** One of {@link FIGURES}; `samples` of one run each, of which the median counts. */
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

  /** Anything else, for the tables. */
  measured(name: string, unit: string, samples: readonly number[]): void {
    this.measurements.push({ scenario: this.#scenario, name, unit, samples });
    const noise = samples.length > 1 ? ` (${noiseOf(samples)} over ${samples.length})` : '';
    this.#print(`  ${name}: ${show(median(samples))} ${unit}${noise}`);
  }

  /** A line of a chart; what its axes mean is in `report/charts.ts`. */
  line(chart: ChartName, name: string, points: Series['points']): void {
    this.series.push({ scenario: this.#scenario, chart, name, points });
  }

  table(name: string, columns: readonly string[], rows: Table['rows']): void {
    this.tables.push({ scenario: this.#scenario, name, columns, rows });
    this.#print(`  ${name}`);
    for (const row of [columns, ...rows]) this.#print(`    ${row.map((cell) => String(cell).padEnd(14)).join(' ')}`);
  }
}

/** Three digits that count. */
export function show(value: number): string {
  return value.toLocaleString('en-US', { maximumSignificantDigits: 3 });
}

/** How far the samples lie from their median, as `±3 %`. */
export function noiseOf(samples: readonly number[]): string {
  const share = spread(samples) * 50;
  return `±${Number.isFinite(share) ? share.toPrecision(2) : '0'} %`;
}
