import { median } from '../statistics.ts';

/** The growth of a series of samples at equal intervals. */
export interface Growth {
  /** Growth per sample: the median of the slopes between any two samples (Theil–Sen). Outliers do not affect it. */
  readonly slope: number;
  /** The slope over the second half of the samples, when the warm-up has ended. */
  readonly lateSlope: number;
  /** Evidence for a trend, in standard deviations of pure noise (Mann–Kendall). */
  readonly trend: number;
}

export function growthOf(samples: readonly number[]): Growth {
  return {
    slope: medianSlope(samples),
    lateSlope: medianSlope(samples.slice(Math.floor(samples.length / 2))),
    trend: trendOf(samples),
  };
}

/** One in a hundred series of pure noise has a higher trend. */
const SURE = 2.33;

/**
 * Detects a leak. Each call leaks the same amount, so a leak meets three conditions: there is a trend, the slope exceeds `limit`
 * bytes, and the slope of the second half still does. Noise fails the first condition. Caches that fill and code that is compiled
 * fail the last one. Growth below the limit would take years to matter.
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
