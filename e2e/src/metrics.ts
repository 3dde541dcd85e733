/** Metrics in Prometheus' text format, looked up by name and labels. */
export class MetricsText {
  readonly #samples: readonly Sample[];

  constructor(text: string) {
    this.#samples = text.split('\n').flatMap((line) => parseSample(line));
  }

  /** The sum of all samples of this name that carry these labels (and perhaps others); 0 where there are none. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return this.#matching(name, labels).reduce((total, { value }) => total + value, 0);
  }

  /** The values that one label takes. */
  labelValues(name: string, label: string): string[] {
    return [...new Set(this.#matching(name, {}).flatMap(({ labels }) => labels.get(label) ?? []))];
  }

  #matching(name: string, wanted: Readonly<Record<string, string>>): Sample[] {
    return this.#samples.filter(
      (sample) =>
        sample.name === name && Object.entries(wanted).every(([label, value]) => sample.labels.get(label) === value),
    );
  }
}

interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

function parseSample(line: string): Sample[] {
  const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
  if (!found) return [];
  const [, name = '', labelText = '', value = ''] = found;
  const labels = new Map<string, string>();
  for (const [, label = '', quoted = ''] of labelText.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    labels.set(
      label,
      quoted.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped)),
    );
  }
  return [{ name, labels, value: Number(value) }];
}
