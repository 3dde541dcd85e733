import { Bench } from 'tinybench';
import type { Task } from 'tinybench';
import { threadCpuMs } from '../cpu-time.ts';

/** Something short whose time is compared with another's in the same process. */
export interface Case {
  readonly name: string;
  /** Calls that one `run` makes: enough for a clock of microseconds. */
  readonly calls: number;
  readonly run: () => void;
}

export interface InterleaveOptions {
  /** Times that all of them take their turn. */
  readonly rounds: number;
  /** ms for each case and round. */
  readonly timeMs: number;
}

/**
 * Runs all cases in turns, every second round in reverse order, so that what disturbs one disturbs the others as well.
 * @returns for each case by name µs of CPU per call, the median of each round. A round that raised a timer warning is left out
 */
export function interleave(cases: readonly Case[], { rounds, timeMs }: InterleaveOptions): Map<string, number[]> {
  const samples = new Map<string, number[]>(cases.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const bench = new Bench({ time: timeMs, iterations: 3, warmup: round === 0, now: threadCpuMs, throws: true });
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

/** Of the same rounds each. */
export function ratios(samples: readonly number[], base: readonly number[]): number[] {
  return samples.map((sample, round) => sample / base[round]!);
}
