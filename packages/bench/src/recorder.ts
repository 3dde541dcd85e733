import { FIGURES, meets } from './figures.ts';
import type { FigureId } from './figures.ts';
import type { Figure, Measurement, Series, Table } from './results.ts';
import { median, spread } from './statistics.ts';

/** What scenarios tell what they measured; prints it as it comes. */
export class Recorder {
  readonly figures: Figure[] = [];
  readonly measurements: Measurement[] = [];
  readonly series: Series[] = [];
  readonly tables: Table[] = [];
  readonly #baseline: ReadonlyMap<string, number>;
  #scenario = '';

  /** @param baseline - earlier values of figures, by id */
  constructor(baseline: ReadonlyMap<string, number> = new Map()) {
    this.#baseline = baseline;
  }

  /** All that follows belongs to this scenario. */
  begin(scenario: string): void {
    this.#scenario = scenario;
    console.log(`\n=== ${scenario}`);
  }

  /** One of {@link FIGURES}; `samples` of one run each, of which the median counts. */
  figure(id: FigureId, samples: readonly number[]): void {
    const target = FIGURES[id];
    const value = median(samples);
    const baseline = this.#baseline.get(id);
    this.figures.push({
      id,
      value,
      unit: target.unit,
      floor: target.floor,
      goal: target.goal,
      ...(baseline !== undefined && { baseline }),
      samples,
    });
    const verdict = meets(target, value, target.goal)
      ? 'goal met'
      : meets(target, value, target.floor)
        ? 'floor met'
        : 'BELOW THE FLOOR';
    console.log(`FIGURE ${id}: ${show(value)} ${target.unit} (floor ${target.floor}, goal ${target.goal}): ${verdict}`);
  }

  /** Anything else, for the tables. */
  measured(name: string, unit: string, samples: readonly number[]): void {
    this.measurements.push({ scenario: this.#scenario, name, unit, samples });
    const noise = samples.length > 1 ? ` (±${show(spread(samples) * 50)} % over ${samples.length})` : '';
    console.log(`  ${name}: ${show(median(samples))} ${unit}${noise}`);
  }

  line(chart: string, name: string, points: Series['points']): void {
    this.series.push({ chart, name, points });
  }

  table(name: string, columns: readonly string[], rows: Table['rows']): void {
    this.tables.push({ name, columns, rows });
    console.log(`  ${name}`);
    for (const row of [columns, ...rows]) console.log(`    ${row.map((cell) => String(cell).padEnd(14)).join(' ')}`);
  }
}

/** Three digits that count. */
export function show(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString('en-US', { maximumFractionDigits: 3 });
}
