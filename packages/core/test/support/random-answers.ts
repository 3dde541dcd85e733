import { KmsError } from '../../src/errors.ts';
import { sleep, systemClock } from '../../src/util/clock.ts';
import type { Clock } from '../../src/util/clock.ts';
import { figure } from './figure.ts';

/** The same numbers for the same seed: mulberry32, public domain. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** From 0 to below `end`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % end;
  }

  /** With a probability of 1 in `n`. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }
}

/** Texts that have been trouble somewhere: halves of characters, control characters, long ones, what looks like a path or a prototype. */
const TEXTS = [
  '',
  '\ud83d',
  `${'x'.repeat(199)}😀`,
  '😀'.repeat(500),
  '\0',
  '\r\nx: y',
  '\u202e',
  '__proto__',
  'constructor',
  '../..',
  '%',
  'http://[',
  'a'.repeat(5_000),
] as const;

const OTHERS: readonly unknown[] = [null, true, 0, -1, 1e308, [], {}, [[[[]]]], [null], { length: -1 }];

/** Changes a JSON value in about one place of five: other types, texts of trouble, fields that are not there. */
export function mutated(value: unknown, random: Random): unknown {
  if (random.oneIn(12)) return random.oneIn(2) ? random.of(TEXTS) : random.of(OTHERS);
  if (Array.isArray(value)) return value.map((one) => mutated(one, random));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(() => !random.oneIn(20));
  return Object.fromEntries(entries.map(([name, one]) => [name, mutated(one, random)]));
}

/** Flips, cuts, repeats or inserts bytes. */
export function damaged(bytes: Buffer, random: Random): Buffer {
  if (bytes.length === 0) return random.bytes(random.below(20));
  const at = random.below(bytes.length);
  const kinds = [
    () => bytes.subarray(0, at),
    () => Buffer.concat([bytes.subarray(0, at), random.bytes(random.below(9)), bytes.subarray(at)]),
    () => Buffer.concat([bytes, bytes.subarray(at)]),
    () => {
      const copy = Buffer.from(bytes);
      copy[at] = random.below(256);
      return copy;
    },
  ];
  return random.of(kinds)();
}

/** The system's clock without the waits between two tries, of which thousands of answers have many. Limits of time stay real. */
export class HurriedClock implements Clock {
  #skippedMs = 0;

  now(): number {
    return systemClock.now() + this.#skippedMs;
  }

  wall(): number {
    return systemClock.wall();
  }

  after(ms: number, fn: () => void, keepAlive?: boolean): () => void {
    return systemClock.after(ms <= 1_500 ? 0 : ms, fn, keepAlive);
  }

  skip(ms: number): void {
    this.#skippedMs += ms;
  }
}

/** What a load of random answers came to. */
export interface Outcomes {
  readonly loaded: number;
  readonly codes: Readonly<Record<string, number>>;
}

/**
 * Calls `load` again and again. Each call must deliver, or be refused with a {@link KmsError} whose text is safe, and nothing may be rejected
 * that nobody waits for: the process would end.
 * @param beforeEach - chooses the next answers
 */
export async function loadAgainAndAgain(
  name: string,
  runs: number,
  beforeEach: (run: number) => void,
  load: () => Promise<void>,
): Promise<Outcomes> {
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on('unhandledRejection', note).on('uncaughtException', note);
  const codes: Record<string, number> = {};
  let loaded = 0;
  try {
    for (let run = 0; run < runs; run++) {
      beforeEach(run);
      try {
        await load();
        loaded++;
      } catch (error) {
        if (!(error instanceof KmsError)) throw new Error(`run ${run}: not a KmsError: ${(error as Error).stack}`);
        if (!error.message.isWellFormed() || /[\p{C}]/u.test(error.message.replaceAll('\n', ''))) {
          throw new Error(`run ${run}: ${JSON.stringify(error.message)}`, { cause: error });
        }
        codes[error.code] = (codes[error.code] ?? 0) + 1;
      }
      if (unhandled.length > 0) throw new Error(`run ${run}: nobody waited for this: ${(unhandled[0] as Error).stack}`);
    }
    // What settles late.
    await sleep(systemClock, 50);
    if (unhandled.length > 0) throw new Error(`nobody waited for this: ${(unhandled[0] as Error).stack}`);
  } finally {
    process.off('unhandledRejection', note).off('uncaughtException', note);
  }
  figure(`random answers, ${name}: ${runs} loads, ${loaded} delivered, ${JSON.stringify(codes)}`);
  return { loaded, codes };
}
