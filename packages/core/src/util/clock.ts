/** Time as the services see it, so that tests can move it. All values are in milliseconds. */
export interface Clock {
  /** Monotonic: never jumps, has no relation to the calendar. */
  now(): number;
  /** Calls `fn` once after `ms`, without keeping the process alive. Returns what cancels it. */
  after(ms: number, fn: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms).unref();
    return () => clearTimeout(timer);
  },
};
