/** Waits double from here on. */
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 30_000;
/** ms of life after which a process counts as sound, and the waits begin anew. */
const SOUND_AFTER_MS = 60_000;

/** When a process that has ended may be started again: the first time at once, then ever later, with jitter. */
export class BackOff {
  #ends = 0;
  #notBefore = 0;

  /** @returns ms until it may be started again, without the jitter. Times are of `performance.now()`. */
  ended(now: number, startedAt: number): number {
    this.#ends = now - startedAt > SOUND_AFTER_MS ? 1 : this.#ends + 1;
    const waitMs = this.#ends === 1 ? 0 : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.#ends - 2));
    this.#notBefore = now + waitMs * (0.75 + 0.5 * Math.random());
    return waitMs;
  }

  /** ms that are left; 0 or less when it may be started. */
  waitMs(now: number): number {
    return this.#notBefore - now;
  }
}
