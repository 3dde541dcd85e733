/** What was measured, and what is let pass. */
export interface Bound {
  readonly measured: number;
  /** How far apart runs of the gate came out on a machine with company: (largest − smallest) ÷ median. */
  readonly noise: number;
}

/**
 * Beyond this it is a regression: what runs have differed by, and never less than another processor's caches may do to a ratio.
 * Counters have no noise.
 */
export function limitOf({ measured, noise }: Bound): number {
  return noise === 0 ? measured : measured * (1 + Math.max(noise, 0.15));
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
  // Two calls for a session: how long it is, and what it is.
  'calls that look at the key for 40 unwraps, 4 sessions': exactly(8),
  'sessions opened on the token, 4 allowed': exactly(4),
  'logins on the token': exactly(1),
} as const satisfies Record<string, Bound>;
export type CounterName = keyof typeof COUNTERS;

/** CPU time of a case ÷ that of its base, in one process, by the case's name. `--measure` prints these rows anew. */
export const RATIOS: Readonly<Record<string, Bound>> = {
  'bare seal again': about(0.995, 0.079),
  'bare open again': about(0.992, 0.036),
  'envelope seal': about(1.24, 0.059),
  'envelope open': about(1.37, 0.077),
  'envelope decode and open': about(1.46, 0.083),
  'keyset service encrypt': about(1.31, 0.176),
  'keyset service decrypt': about(1.66, 0.093),
  'local KEK service encrypt': about(1.28, 0.072),
  'local KEK service decrypt': about(1.76, 0.112),
  'handler Encrypt, keyset': about(1.72, 0.104),
  'handler Decrypt, keyset': about(2.11, 0.048),
  'handler Decrypt, local KEK': about(2.26, 0.084),
  'KekCache.get': about(5.83, 0.1),
  'Keyset.find of 16': about(1.08, 0.052),
  'Unwrapper.cached': about(25, 0.036),
  'decode v2 DecryptRequest': about(0.104, 0.076),
  'encode v2 DecryptResponse': about(0.037, 0.117),
};

/** Bytes on V8's heap for each call, by the case's name. */
export const ALLOCATIONS: Readonly<Record<string, Bound>> = {
  'envelope seal': about(1240, 0.021),
  'envelope open': about(1050, 0.007),
  'keyset service decrypt': about(1600, 0.014),
  'local KEK service decrypt': about(1890, 0.014),
  'handler Encrypt, keyset': about(2840, 0.006),
  'handler Decrypt, keyset': about(2780, 0.006),
  'handler Decrypt, local KEK': about(3070, 0.008),
};
