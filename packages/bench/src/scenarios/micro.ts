import { microCases } from '../micro/cases.ts';
import { interleave, ratios } from '../micro/interleave.ts';
import { show } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';
import { median, spread } from '../statistics.ts';

const OPTIONS = { rounds: 15, timeMs: 60 };

/** Measures the CPU time of each layer of a call, side by side with the cheapest code that could do the same. */
export const micro: Scenario = {
  name: 'micro',
  about: 'what sealing, opening, codec, look-ups and the handler cost, against bare node:crypto and a bare Map',
  async run(record) {
    const { bases, comparisons, close } = await microCases();
    const samples = interleave([...bases, ...comparisons], OPTIONS);
    await close();
    for (const [name, values] of samples) record.measured(name, 'µs of CPU', values);
    const rows = comparisons.map(({ name, base }) => {
      const values = ratios(samples.get(name)!, samples.get(base)!);
      return [name, show(median(samples.get(name)!)), base, show(median(values)), `±${show(spread(values) * 50)} %`];
    });
    record.table('micro', ['what', 'µs of CPU', 'against', '÷', 'over the rounds'], rows);
  },
};
