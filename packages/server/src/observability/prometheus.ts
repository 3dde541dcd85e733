/** Names and values of a series' labels. The values must come from a small set: each combination is a series of its own. */
export type Labels = Readonly<Record<string, string>>;

/** Receives one series of a metric at a scrape. */
export type Emit = (labels: Labels, value: number) => void;

/** Reports all series of a metric, at each scrape. */
export type Collect = (emit: Emit) => void;

/** Upper bounds of a histogram's buckets in seconds, from a cached answer to kube-apiserver's deadline. */
const CALL_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 3];

/** Metrics in the Prometheus text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats). */
export class Registry {
  static readonly contentType = 'text/plain; version=0.0.4; charset=utf-8';
  readonly #metrics = new Map<string, () => string[]>();

  /** A value that only grows. Its name ends in `_total`. */
  counter(name: string, help: string, collect: Collect): void {
    this.#add(name, help, 'counter', collect);
  }

  /** A value that goes up and down. */
  gauge(name: string, help: string, collect: Collect): void {
    this.#add(name, help, 'gauge', collect);
  }

  /** @param bounds - upper bounds of the buckets in seconds, ascending; `+Inf` is added */
  histogram(name: string, help: string, bounds: readonly number[] = CALL_SECONDS): Histogram {
    const histogram = new Histogram(bounds);
    this.#register(name, help, 'histogram', () => histogram.lines(name));
    return histogram;
  }

  /** All metrics as text. */
  text(): string {
    return `${[...this.#metrics.values()].flatMap((lines) => lines()).join('\n')}\n`;
  }

  #add(name: string, help: string, type: string, collect: Collect): void {
    this.#register(name, help, type, () => {
      const lines: string[] = [];
      collect((labels, value) => lines.push(line(name, labels, value)));
      return lines;
    });
  }

  #register(name: string, help: string, type: string, lines: () => string[]): void {
    if (this.#metrics.has(name)) throw new TypeError(`there is a metric ${name} already`);
    const header = [`# HELP ${name} ${help.replace(/[\\\n]/g, escape)}`, `# TYPE ${name} ${type}`];
    this.#metrics.set(name, () => [...header, ...lines()]);
  }
}

/** Durations by label. A caller on the hot path keeps the {@link Durations} of its labels. */
export class Histogram {
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, { readonly labels: Labels; readonly durations: Durations }>();

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
  }

  /** Returns the same object for the same labels. The series is shown from now on. */
  with(labels: Labels): Durations {
    const key = JSON.stringify(labels);
    let series = this.#series.get(key);
    if (!series) this.#series.set(key, (series = { labels, durations: new Durations(this.#bounds) }));
    return series.durations;
  }

  lines(name: string): string[] {
    return [...this.#series.values()].flatMap(({ labels, durations: { counts, sum } }) => {
      let count = 0;
      const buckets = counts.map((own, index) => {
        const le = number(this.#bounds[index] ?? Infinity);
        return line(`${name}_bucket`, { ...labels, le }, (count += own));
      });
      return [...buckets, line(`${name}_sum`, labels, sum), line(`${name}_count`, labels, count)];
    });
  }
}

/** How long the calls with the same labels took. */
export class Durations {
  readonly #bounds: readonly number[];
  /** By the first bound that is not exceeded. The last entry counts durations above every bound. */
  readonly counts: number[];
  /** Seconds. */
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(seconds: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && seconds > this.#bounds[bucket]!) bucket++;
    this.counts[bucket]!++;
    this.sum += seconds;
  }
}

function line(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text.replace(/[\\"\n]/g, escape)}"`);
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${number(value)}`;
}

const escape = (character: string): string => (character === '\n' ? '\\n' : `\\${character}`);

function number(value: number): string {
  return String(value).replace('Infinity', 'Inf').replace(/^Inf/, '+Inf');
}
