import * as z from 'zod';

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const PATTERN = /^(\d{1,7})(ms|s|m|h)$/;

/**
 * Schema of a duration as in Kubernetes: `500ms`, `30s`, `2m`, `24h`. The output is in milliseconds.
 * @param minMs - smallest duration that is valid
 */
export function duration(minMs: number) {
  return z
    .string('expected a duration such as "2m"')
    .regex(PATTERN, { error: 'expected a duration such as "500ms", "30s", "2m" or "24h"', abort: true })
    .refine((text) => toMs(text) >= minMs, `expected a duration of at least ${minMs} ms`)
    .transform(toMs);
}

function toMs(text: string): number {
  const [, count, unit] = PATTERN.exec(text)!;
  return Number(count) * UNITS[unit!]!;
}
