import { ConnectionError } from './errors.ts';
import { CREDITS, CREDITS_PER_CALL, CREDITS_PER_SECOND } from './limits.ts';

/** Bounds the frames of a connection that cost work and carry none (floods of PING, SETTINGS, WINDOW_UPDATE, resets). */
export class Credits {
  #left = CREDITS;
  #refilledAt: number;

  /** @param now - monotonic ms */
  constructor(now: number) {
    this.#refilledAt = now;
  }

  refill(now: number): void {
    this.#left = Math.min(CREDITS, this.#left + ((now - this.#refilledAt) * CREDITS_PER_SECOND) / 1_000);
    this.#refilledAt = now;
  }

  earn(): void {
    this.#left = Math.min(CREDITS, this.#left + CREDITS_PER_CALL);
  }

  /** @throws {@link ConnectionError} `ENHANCE_YOUR_CALM` when none is left */
  spend(): void {
    if (--this.#left < 0) throw new ConnectionError('ENHANCE_YOUR_CALM', 'too many frames that carry no call');
  }
}
