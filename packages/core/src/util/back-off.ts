export interface BackOff {
  /** Wait in ms after the first failure. */
  readonly firstMs: number;
  /** Longest wait in ms, before the jitter. */
  readonly longestMs: number;
}

/**
 * Returns how long to wait before the next try, in ms: 0 without a failure, then `firstMs`, doubled with each failure up to `longestMs`.
 * A jitter of 25 % each way keeps hundreds of instances from retrying in step.
 *
 * @param failures - failures in a row
 * @param random - 0 to below 1, for tests
 */
export function backOffMs(failures: number, { firstMs, longestMs }: BackOff, random = Math.random): number {
  if (failures <= 0) return 0;
  return jittered(Math.min(longestMs, firstMs * 2 ** (failures - 1)), random);
}

/** Returns `ms` with a jitter of 25 % each way. */
export function jittered(ms: number, random = Math.random): number {
  return ms * (0.75 + 0.5 * random());
}
