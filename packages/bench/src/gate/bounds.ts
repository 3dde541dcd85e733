/** What was measured, and what is let pass. */
export interface Bound {
  readonly measured: number;
  /** How far apart processes came out: (largest − smallest) ÷ median. */
  readonly noise: number;
}

/** What another processor's caches may do to a ratio. */
const OTHER_MACHINES = 0.15;
/** Of the bare cipher's time: what takes little of a call may grow by as much, whatever share of itself that is. */
const UNNOTICED = 0.01;

/** Beyond this it is a regression: what processes have differed by, and never less than machines do. Counters have no noise. */
export function limitOf({ measured, noise }: Bound): number {
  if (noise === 0) return measured;
  return Math.max(measured * (1 + Math.max(noise, OTHER_MACHINES)), measured + UNNOTICED);
}

const exactly = (measured: number): Bound => ({ measured, noise: 0 });
const about = (measured: number, noise: number): Bound => ({ measured, noise });

/** How often something costly happens. Any more is a regression; fewer should be written down here. */
export const COUNTERS = {
  'unwraps of 1,000 cold Decrypts at once, 40 wrapped keys': exactly(40),
  'unwraps of 1,000 cold Decrypts one by one, 40 wrapped keys': exactly(40),
  'descriptions for 1,000 cold Decrypts at once': exactly(1),
  'descriptions for 1,000 cold Decrypts one by one': exactly(1),
  'Decrypts of 1,000 that did not share an unwrap': exactly(40),
  'wraps of 1,000 Encrypts': exactly(1),
  'loads for 1,000 Decrypts under unknown keys': exactly(1),
  'promises of 1,000 warm calls': exactly(0),
  'token calls of 1,000 cold Decrypts, 40 wrapped keys': exactly(40),
  // Two calls for each session but the one that has probed the key: the length of its class, and its class.
  'calls that look at the key for 40 unwraps, 4 sessions': exactly(0),
  'sessions opened on the token, 4 allowed': exactly(4),
  'logins on the token': exactly(1),
  // Twice CALLS_PER_TURN of the transport: the turn in which the other call comes with the first of these, and the next one.
  'calls of one connection while one of another waits': exactly(127),
} as const satisfies Record<string, Bound>;
export type CounterName = keyof typeof COUNTERS;

/** CPU time of a case ÷ that of its base, in one process, by the case's name. `--measure` prints new rows, measured in several processes. */
export const RATIOS: Readonly<Record<string, Bound>> = {
  'bare seal again': about(0.996, 0.036),
  'bare open again': about(1.01, 0.044),
  'envelope seal': about(1.28, 0.044),
  'envelope open': about(1.32, 0.027),
  'envelope decode and open': about(1.51, 0.03),
  'keyset service encrypt': about(1.31, 0.057),
  'keyset service decrypt': about(1.63, 0.041),
  'local KEK service encrypt': about(1.33, 0.042),
  'local KEK service decrypt': about(1.71, 0.091),
  'handler Encrypt, keyset': about(1.81, 0.066),
  'handler Decrypt, keyset': about(2.02, 0.037),
  'handler Decrypt, local KEK': about(2.13, 0.044),
  'KekCache.get': about(0.0213, 0.128),
  'Keyset.find of 16': about(0.00437, 0.058),
  'Unwrapper.cached': about(0.0882, 0.067),
  'decode v2 DecryptRequest': about(0.109, 0.067),
  'encode v2 DecryptResponse': about(0.0388, 0.031),
};

/** Bytes on V8's heap for each call, by the case's name. */
export const ALLOCATIONS: Readonly<Record<string, Bound>> = {
  'envelope seal': about(1300, 0.04),
  'envelope open': about(1060, 0.01),
  'keyset service decrypt': about(1630, 0.04),
  'local KEK service decrypt': about(1900, 0.055),
  'handler Encrypt, keyset': about(2940, 0.023),
  'handler Decrypt, keyset': about(2760, 0.007),
  'handler Decrypt, local KEK': about(3080, 0.028),
};
