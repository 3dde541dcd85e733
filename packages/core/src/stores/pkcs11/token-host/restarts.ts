import { backOffMs } from '../../../util/back-off.ts';
import type { Clock } from '../../../util/clock.ts';

/** The first new process starts at once, and later ones after these waits, until one has lived for a while. */
const RESTART = { firstMs: 250, longestMs: 30_000 };
const SOUND_AFTER_MS = 60_000;

/** When the next process of a token host may start. */
export class Restarts {
  readonly #clock: Clock;
  readonly #random: (() => number) | undefined;
  #startedAt = 0;
  #notBefore = 0;
  #ends = 0;

  constructor(clock: Clock, random: (() => number) | undefined) {
    this.#clock = clock;
    this.#random = random;
  }

  started(): void {
    this.#startedAt = this.#clock.now();
  }

  /** ms since the last start. */
  get ageMs(): number {
    return this.#clock.now() - this.#startedAt;
  }

  /** ms until the next process may start; 0 or less for at once. */
  get waitMs(): number {
    return this.#notBefore - this.#clock.now();
  }

  /**
   * @param atOnce - the next process need not wait
   * @returns ms until the next process may start
   */
  ended(atOnce: boolean): number {
    if (!atOnce) this.#ends = this.ageMs > SOUND_AFTER_MS ? 1 : this.#ends + 1;
    const waitMs = atOnce ? 0 : this.backOff(this.#ends);
    this.#notBefore = this.#clock.now() + waitMs;
    return waitMs;
  }

  /** Returns ms to wait after so many failures. */
  backOff(times: number): number {
    return Math.round(backOffMs(times - 1, RESTART, this.#random));
  }
}
