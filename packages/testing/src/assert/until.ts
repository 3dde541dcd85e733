import { setTimeout as sleep } from 'node:timers/promises';

export interface UntilOptions {
  readonly timeoutMs?: number;
  readonly everyMs?: number;
}

/**
 * Asks again until there is an answer, so that a test takes as long as it needs. The timeout only ends a wait that is
 * in vain; it says nothing about how fast a machine must be.
 *
 * @param what - the sentence that an error completes, e.g. `kube-apiserver is ready`
 * @param ask - `undefined` and `false` mean "not yet"; so does an error, whose message the last line shows
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = 90_000, everyMs = 100 }: UntilOptions = {},
): Promise<T> {
  const started = performance.now();
  let last = 'no answer yet';
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
      last = 'not yet';
    } catch (error) {
      if (error instanceof Hopeless) throw error;
      last = (error as Error).message;
    }
    if (performance.now() - started > timeoutMs) {
      throw new Error(`waited ${Math.round(timeoutMs / 1000)} s until ${what}; last: ${last}`);
    }
    await sleep(everyMs);
  }
}

/** Ends {@link until} at once: waiting longer cannot help, as when the process that should answer is dead. */
export class Hopeless extends Error {
  override readonly name = 'Hopeless';
}

/** Seconds that `work` took, for a figure. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

/** A line that the test runner shows. */
export function figure(name: string, value: string | number): void {
  say(`FIGURE ${name}: ${value}`);
}

/** Prints a line of its own: uvu's dots end without a line break. */
export function say(line: string): void {
  console.log(`\n${line}`);
}
