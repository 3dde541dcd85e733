import type { Clock } from '../util/clock.ts';

/** Longest wait in ms for the first answer of the store: well below kube-apiserver's 3 s. */
const MAX_WAIT_MS = 1_000;

/**
 * The moment after the start in which the store was asked, but has not answered yet. Calls that come then wait a
 * little instead of failing: a plugin that restarts must not cost its kube-apiserver a failed request.
 */
export class Starting {
  readonly #clock: Clock;
  /** Resolves when calls should go on; `undefined` when they need not wait. Never rejects. */
  pending: Promise<void> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  until(firstAnswer: Promise<unknown>): void {
    this.pending = new Promise<void>((resolve) => {
      const done = () => {
        cancel();
        this.pending = undefined;
        resolve();
      };
      const cancel = this.#clock.after(MAX_WAIT_MS, done);
      firstAnswer.then(done, done);
    });
  }
}
