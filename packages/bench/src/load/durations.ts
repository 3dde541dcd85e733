/** Durations of measurements. With these, most scenarios take less than a minute. */
export const durations = {
  /** Load before each sample, so that code is compiled and pools are filled. */
  warmUpSeconds: 0.5,
  sampleSeconds: 1.5,
  /** Rounds of A B A B. */
  rounds: 3,
  /** Duration of each point of a curve. */
  pointSeconds: 0.5,
  /** Duration of each sample with Barbican, which answers some tens of calls a second. */
  barbicanSeconds: 3,
} as const;
