import { z } from 'zod';

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const PATTERN = /^(\d{1,7})(ms|s|m|h)$/;

/**
 * A duration as Kubernetes users write it: `500ms`, `30s`, `2m`, `24h`. Becomes milliseconds.
 * @param minMs - least that makes sense
 */
export function duration(minMs: number) {
  return z
    .string()
    .regex(PATTERN, 'expected a duration such as 500ms, 30s, 2m or 24h')
    .transform((text) => {
      const [, count, unit] = PATTERN.exec(text)!;
      return Number(count) * UNITS[unit!]!;
    })
    .refine((ms) => ms >= minMs, `expected a duration of at least ${minMs} ms`);
}
