/** The source of time. Tests inject one that they can move. All values are in milliseconds. */
export interface Clock {
  /** Monotonic time: it never jumps and has no relation to the calendar. */
  now(): number;
  /** Time since the Unix epoch. It jumps when the system's clock is set. */
  wall(): number;
  /**
   * Calls `fn` once after `ms`. Returns a function that cancels the call.
   * @param keepAlive - keeps the process running until the call
   */
  after(ms: number, fn: () => void, keepAlive?: boolean): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, fn, keepAlive = false) {
    const timer = setTimeout(fn, ms);
    if (!keepAlive) timer.unref();
    return () => clearTimeout(timer);
  },
};

/**
 * Resolves after `ms`. The process stays alive until then.
 * @throws the signal's reason, as soon as `signal` aborts
 */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const aborted = (): void => {
      cancel();
      reject(signal?.reason as Error);
    };
    const done = (): void => {
      signal?.removeEventListener('abort', aborted);
      resolve();
    };
    const cancel = clock.after(ms, done, true);
    signal?.addEventListener('abort', aborted, { once: true });
  });
}
