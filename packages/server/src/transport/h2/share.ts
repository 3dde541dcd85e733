import type { Clock } from '@teapot-kms/core';
import { SHARE_MS } from './limits.ts';

/** Something that waits for the next turn of the event loop. */
interface Waiting {
  resume(): void;
}

/** What the connections of one socket may use of a turn of the event loop, together. */
export class Share<T extends Waiting> {
  readonly #clock: Clock;
  /** In the order in which they go on. */
  readonly #waiting = new Set<T>();
  #usedMs = 0;
  #nextTurn: NodeJS.Immediate | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isUsed(): boolean {
    return this.#usedMs >= SHARE_MS;
  }

  /** Counts work that began at `startedMs`. */
  count(startedMs: number): void {
    this.#usedMs += this.#clock.now() - startedMs;
    // A lone call costs no turn of its own: some of them pass before the count begins anew.
    if (this.#usedMs > SHARE_MS / 8) this.#schedule();
  }

  /** `one` goes on in the next turn that has something left for it. */
  wait(one: T): void {
    this.#waiting.add(one);
    this.#schedule();
  }

  leave(one: T): void {
    this.#waiting.delete(one);
  }

  #schedule(): void {
    this.#nextTurn ??= setImmediate(() => this.#begin());
  }

  /** Every connection that waits gets its next share before any gets a second one. */
  #begin(): void {
    this.#nextTurn = undefined;
    this.#usedMs = 0;
    for (const one of [...this.#waiting]) {
      if (this.isUsed) break;
      this.#waiting.delete(one);
      one.resume();
    }
    if (this.#waiting.size > 0) this.#schedule();
  }
}
