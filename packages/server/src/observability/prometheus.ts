/*
 * The Prometheus text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats). Help texts contain no backslash and no
 * line feed. Label values must come from a small set: each combination is a series of its own.
 */
export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export type Labels = Readonly<Record<string, string>>;

/** The series of a metric. One without a value is left out. A number is the only series, without labels. */
export type Series = number | Iterable<readonly [labels: Labels, value: number | undefined]>;

/** A value that only grows. The name ends in `_total`. */
export const counter = (name: string, help: string, series: Series): string => metric('counter', name, help, series);

/** A value that goes up and down. */
export const gauge = (name: string, help: string, series: Series): string => metric('gauge', name, help, series);

export function histogram(name: string, help: string, all: Iterable<Durations>): string {
  const lines: string[] = [];
  for (const { labels, bounds, counts, sum } of all) {
    let count = 0;
    counts.forEach((own, index) => {
      const le = number(bounds[index] ?? Infinity);
      lines.push(line(`${name}_bucket`, { ...labels, le }, (count += own)));
    });
    lines.push(line(`${name}_sum`, labels, sum), line(`${name}_count`, labels, count));
  }
  return withHeader('histogram', name, help, lines);
}

/** Upper bounds of buckets in seconds, from a cached answer to kube-apiserver's deadline. */
const CALL_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 3];

/** How long things with the same labels took: the series of a histogram. */
export class Durations {
  readonly labels: Labels;
  readonly bounds: readonly number[];
  /** By the first bound that is not exceeded. The last entry counts durations above every bound. */
  readonly counts: number[];
  /** Seconds. */
  sum = 0;

  /** @param bounds - upper bounds of the buckets in seconds, ascending; `+Inf` is added */
  constructor(labels: Labels, bounds: readonly number[] = CALL_SECONDS) {
    this.labels = labels;
    this.bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(seconds: number): void {
    let bucket = 0;
    while (bucket < this.bounds.length && seconds > this.bounds[bucket]!) bucket++;
    this.counts[bucket]!++;
    this.sum += seconds;
  }
}

function metric(type: string, name: string, help: string, series: Series): string {
  const all = typeof series === 'number' ? [[{}, series] as const] : [...series];
  const lines = all.flatMap(([labels, value]) => (value === undefined ? [] : [line(name, labels, value)]));
  return withHeader(type, name, help, lines);
}

function withHeader(type: string, name: string, help: string, lines: readonly string[]): string {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines, ''].join('\n');
}

function line(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text.replace(/[\\"\n]/g, escape)}"`);
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${number(value)}`;
}

const escape = (character: string): string => (character === '\n' ? '\\n' : `\\${character}`);

const number = (value: number): string => (value === Infinity ? '+Inf' : String(value));
