import { systemClock } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

/** The real clock, whose monotonic time a test can set forward: ages and pauses pass without a wait, beside real services. */
export class ForwardClock implements Clock {
  /** ms that somebody has set the wall clock ahead, or behind if negative. */
  wallOffsetMs = 0;
  #skippedMs = 0;
  readonly #timers = new Set<Timer>();

  now(): number {
    return systemClock.now() + this.#skippedMs;
  }

  wall(): number {
    return systemClock.wall() + this.wallOffsetMs;
  }

  after(ms: number, fn: () => void, keepAlive?: boolean): () => void {
    const timer: Timer = {
      at: this.now() + ms,
      run: () => {
        cancel();
        fn();
      },
    };
    const stop = systemClock.after(ms, timer.run, keepAlive);
    const cancel = () => {
      stop();
      this.#timers.delete(timer);
    };
    this.#timers.add(timer);
    return cancel;
  }

  /** Moves monotonic time on by `ms`, and calls what is due then. Wall time stays that of other hosts. */
  skip(ms: number): void {
    this.#skippedMs += ms;
    for (const timer of [...this.#timers]) if (timer.at <= this.now()) timer.run();
  }
}
