import type { Histogram, Registry } from 'prom-client';

/** Upper bounds in seconds: from a cached answer to kube-apiserver's deadline. */
const BOUNDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 3];

type Labels = Readonly<Record<string, string>>;

/** How long the calls with the same labels took. */
export class Durations {
  readonly #labels: Labels;
  /** By the first bound that is not exceeded; last those beyond every bound. */
  readonly #counts = new Array<number>(BOUNDS.length + 1).fill(0);
  #sum = 0;

  constructor(labels: Labels) {
    this.#labels = labels;
  }

  observe(seconds: number): void {
    let bucket = 0;
    while (bucket < BOUNDS.length && seconds > BOUNDS[bucket]!) bucket++;
    this.#counts[bucket]!++;
    this.#sum += seconds;
  }

  /** The lines of a scrape, in which each bucket counts those below it as well. */
  values(name: string): { metricName: string; labels: Labels; value: number }[] {
    const labels = this.#labels;
    let count = 0;
    const buckets = this.#counts.map((own, index) => ({
      metricName: `${name}_bucket`,
      labels: { ...labels, le: String(BOUNDS[index] ?? '+Inf') },
      value: (count += own),
    }));
    const totals = [
      { metricName: `${name}_sum`, labels, value: this.#sum },
      { metricName: `${name}_count`, labels, value: count },
    ];
    return [...buckets, ...totals];
  }
}

/**
 * A histogram for the hot path: who observes keeps the {@link Durations} of its labels. prom-client's own makes an object
 * of labels and hashes it at each observation.
 */
export class DurationHistogram {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly aggregator = 'sum';
  readonly #durations = new Map<string, Durations>();

  constructor(name: string, help: string, registry: Registry) {
    this.name = name;
    this.help = help;
    // All that a registry of prom-client asks of a metric, as its types do not say.
    registry.registerMetric(this as unknown as Histogram);
  }

  /** The same for the same labels, which must be few. */
  with(labels: Labels): Durations {
    const key = JSON.stringify(labels);
    let durations = this.#durations.get(key);
    if (!durations) this.#durations.set(key, (durations = new Durations(labels)));
    return durations;
  }

  get(): Promise<object> {
    const { name, help, type, aggregator } = this;
    const values = [...this.#durations.values()].flatMap((durations) => durations.values(name));
    return Promise.resolve({ name, help, type, aggregator, values });
  }
}
