/** How long things are measured; the sums keep most scenarios under a minute. */
export const durations = {
  /** A server is loaded before each sample, so that what is compiled and pooled is. */
  warmUpSeconds: 0.5,
  sampleSeconds: 1.5,
  /** Of A B A B. */
  rounds: 3,
  /** Of each point of a curve. */
  pointSeconds: 0.5,
  /** Of each sample on Barbican, which answers some tens of calls a second. */
  barbicanSeconds: 3,
} as const;
