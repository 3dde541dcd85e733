import { median } from '../statistics.ts';

/** What a row of samples, equally far apart, shows. */
export interface Growth {
  /** By sample: the median of the slopes between any two, which single samples that are off do not move (Theil and Sen). */
  readonly slope: number;
  /** The same over the second half: what was only a warm-up has ended by then. */
  readonly lateSlope: number;
  /** How sure it is that there is a trend at all, in standard deviations of what chance does (Mann and Kendall). */
  readonly trend: number;
}

export function growthOf(samples: readonly number[]): Growth {
  return {
    slope: medianSlope(samples),
    lateSlope: medianSlope(samples.slice(Math.floor(samples.length / 2))),
    trend: trendOf(samples),
  };
}

/** One in a hundred rows of pure noise has a trend above this. */
const SURE = 2.33;

/**
 * A leak adds as much with every call, so it shows in three ways at once: later samples are nearly always above earlier ones, the
 * slope is more than what the process may keep (`limit`), and it still is so in the second half. Noise fails the first, caches that
 * fill and code that gets compiled the last; what is below the limit would take years to matter.
 */
export function growsSteadily({ slope, lateSlope, trend }: Growth, limit: number): boolean {
  return trend > SURE && slope > limit && lateSlope > limit;
}

function medianSlope(samples: readonly number[]): number {
  return median(pairs(samples).map(([i, j]) => (samples[j]! - samples[i]!) / (j - i)));
}

function trendOf(samples: readonly number[]): number {
  const n = samples.length;
  const rises = pairs(samples).reduce((sum, [i, j]) => sum + Math.sign(samples[j]! - samples[i]!), 0);
  return (rises - Math.sign(rises)) / Math.sqrt((n * (n - 1) * (2 * n + 5)) / 18);
}

function pairs(samples: readonly number[]): [number, number][] {
  return samples.flatMap((_, j) => Array.from({ length: j }, (_, i): [number, number] => [i, j]));
}
