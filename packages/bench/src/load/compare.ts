import type { Recorder } from '../recorder.ts';
import { spread } from '../statistics.ts';
import { durations } from './durations.ts';
import { sample } from './samples.ts';
import type { Load, Sample, Side } from './samples.ts';

/** The samples of one side, a round each. */
export type Samples = readonly Sample[];

/**
 * A B A B: loads each side in turn, as often as there are rounds. What comes before them, once for each side, does not count:
 * a process that has just started runs code that is not compiled yet.
 *
 * @param what - what the measurements are called
 * @returns the samples of each side, in their order
 */
export async function compare<Sides extends readonly Side[]>(
  record: Recorder,
  what: string,
  sides: Sides,
  load: Load,
): Promise<{ [Index in keyof Sides]: Samples }> {
  for (const side of sides) await sample(side, load);
  const samples = sides.map((): Sample[] => []);
  for (let round = 0; round < durations.rounds; round++) {
    for (const [index, side] of sides.entries()) samples[index]!.push(await sample(side, load));
  }
  for (const [index, { server }] of sides.entries()) {
    const measured = (name: string, unit: string, of: (one: Sample) => number): void => {
      record.measured(`${what} · ${server.name} · ${name}`, unit, samples[index]!.map(of));
    };
    measured('calls', '1/s', (one) => one.rps);
    measured('CPU of the server', 'µs/call', (one) => one.cpuUs);
    measured('CPU of the client', 'µs/call', (one) => one.clientUs);
    measured('p50', 'µs', (one) => one.latencyUs.p50);
    measured('p99', 'µs', (one) => one.latencyUs.p99);
  }
  // The last side is what the others are compared with: what it differs from itself is noise.
  const noise = spread(samples.at(-1)!.map((one) => one.rps)) * 100;
  record.measured(`${what} · ${sides.at(-1)!.server.name} · noise of calls/s, A against A`, '%', [noise]);
  return samples as { [Index in keyof Sides]: Samples };
}

/** Of each round, one number of the first ÷ that of the second. */
export function ratios(ours: Samples, theirs: Samples, of: (one: Sample) => number): number[] {
  return ours.map((one, round) => of(one) / of(theirs[round]!));
}
