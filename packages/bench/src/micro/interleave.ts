import { Bench } from 'tinybench';
import type { Task } from 'tinybench';
import { threadCpuMs } from '../cpu-time.ts';

/** Short work, compared with other work in the same process. */
export interface Case {
  readonly name: string;
  /** Number of calls in one `run`. It must be large enough for a clock of microseconds. */
  readonly calls: number;
  readonly run: () => void;
}

export interface InterleaveOptions {
  /** Number of rounds. Each round runs every case. */
  readonly rounds: number;
  /** Duration of each case in a round, in ms. */
  readonly timeMs: number;
  /** Returns ms since any origin. Default: the CPU time of this thread. */
  readonly now?: () => number;
}

/**
 * Runs all cases in turn, in reverse order in every second round, so that a disturbance affects all of them alike.
 * @returns the median µs of CPU per call in each round, by the name of the case. Rounds with a timer warning are left out
 */
export function interleave(
  cases: readonly Case[],
  { rounds, timeMs, now = threadCpuMs }: InterleaveOptions,
): Map<string, number[]> {
  const samples = new Map<string, number[]>(cases.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const bench = new Bench({ time: timeMs, iterations: 3, warmup: round === 0, now, throws: true });
    const doubtful = new Set<string>();
    bench.addEventListener('warning', ({ task }) => doubtful.add(task.name));
    for (const { name, run } of round % 2 === 0 ? cases : cases.toReversed()) bench.add(name, run);
    bench.runSync();
    if (doubtful.size > 0) continue;
    for (const { name, calls } of cases) samples.get(name)!.push((medianMs(bench.getTask(name)!) * 1000) / calls);
  }
  return samples;
}

function medianMs({ name, result }: Task): number {
  if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`);
  return result.latency.p50;
}

/** Divides the samples of a case by those of its base, round by round. */
export function ratios(samples: readonly number[], base: readonly number[]): number[] {
  return samples.map((sample, round) => sample / base[round]!);
}
