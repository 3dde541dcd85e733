import type { Recorder } from '../recorder.ts';
import { spread } from '../statistics.ts';
import { durations } from './durations.ts';
import { sample } from './samples.ts';
import type { Load, Sample, Side } from './samples.ts';

/** The samples of one side, one for each round. */
export type Samples = readonly Sample[];

/**
 * Loads the sides in turn (A B A B), once per round. An extra sample of each side comes first and does not count, because a
 * new process runs code that is not compiled yet.
 *
 * @param what - name of the measurements
 * @returns the samples of each side, in the order of `sides`
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
  // The other sides are compared with the last side. Differences between its own samples are noise.
  const noise = spread(samples.at(-1)!.map((one) => one.rps)) * 100;
  record.measured(`${what} · ${sides.at(-1)!.server.name} · noise of calls/s, A against A`, '%', [noise]);
  return samples as { [Index in keyof Sides]: Samples };
}

/** Returns the ratio of one number for each round: ours ÷ theirs. */
export function ratios(ours: Samples, theirs: Samples, of: (one: Sample) => number): number[] {
  return ours.map((one, round) => of(one) / of(theirs[round]!));
}
