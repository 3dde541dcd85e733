import type { Clock } from './clock.ts';

export interface Pace {
  /** Calls that may come at once, after a time without any. */
  readonly burst: number;
  /** ms between two calls after that. */
  readonly everyMs: number;
}

export interface Paced {
  readonly call: () => void;
  /** Cancels a call that waits. */
  readonly cancel: () => void;
}

/**
 * Returns a function that calls `work` at once while the pace allows it. Later calls become one, as soon as it allows that. So what is outside,
 * such as a directory that changes all the time, does not decide how often something is done.
 */
export function paced(clock: Clock, { burst, everyMs }: Pace, work: () => void): Paced {
  /** When the calls so far would have ended at this pace. */
  let paidUntil = -Infinity;
  let cancelNext: (() => void) | undefined;
  const run = (): void => {
    cancelNext = undefined;
    paidUntil = Math.max(paidUntil, clock.now()) + everyMs;
    work();
  };
  return {
    call: () => {
      if (cancelNext) return;
      const waitMs = paidUntil - (burst - 1) * everyMs - clock.now();
      if (waitMs <= 0) run();
      else cancelNext = clock.after(waitMs, run);
    },
    cancel: () => cancelNext?.(),
  };
}
