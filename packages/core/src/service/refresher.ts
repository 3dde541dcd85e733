import type { Clock } from '../util/clock.ts';
import { KmsError } from '../errors.ts';

export interface RefresherOptions {
  readonly clock: Clock;
  /** ms between two runs that went well. */
  readonly intervalMs: number;
  /** ms after which a run is aborted, so that a hanging store does not end the loop. */
  readonly timeoutMs: number;
  /** Does the work; must not throw. Returns whether it went well. */
  readonly run: (signal: AbortSignal) => Promise<boolean>;
}

/** First wait after a failure in ms; doubled up to the interval at each further one. */
const FIRST_BACKOFF_MS = 500;

/**
 * Runs one task in the background: at intervals, sooner when asked to, never twice at a time, and with jittered
 * back-off while it fails, so that hundreds of instances do not knock at a store in step.
 */
export class Refresher {
  readonly #options: RefresherOptions;
  readonly #stopped = new AbortController();
  #running: Promise<boolean> | undefined;
  #next: Promise<boolean> | undefined;
  #cancelTimer: (() => void) | undefined;
  #failures = 0;

  constructor(options: RefresherOptions) {
    this.#options = options;
  }

  /** Runs now, or joins a run that has not begun to read yet; a run already under way is followed by another one. */
  refresh(): Promise<boolean> {
    return (this.#next ??= this.#startNext());
  }

  /** As {@link Refresher.refresh}, for callers that do not wait. */
  trigger(): void {
    void this.refresh();
  }

  stop(): void {
    this.#stopped.abort();
    this.#cancelTimer?.();
  }

  async #startNext(): Promise<boolean> {
    await this.#running;
    this.#next = undefined;
    return this.#start();
  }

  #start(): Promise<boolean> {
    if (this.#stopped.signal.aborted) return Promise.resolve(false);
    this.#cancelTimer?.();
    this.#running = this.#runOnce().then((good) => {
      this.#running = undefined;
      this.#failures = good ? 0 : this.#failures + 1;
      this.#schedule();
      return good;
    });
    return this.#running;
  }

  async #runOnce(): Promise<boolean> {
    const timeout = new AbortController();
    const { clock, timeoutMs } = this.#options;
    const cancel = clock.after(timeoutMs, () =>
      timeout.abort(new KmsError('ERR_KMS_STORE_UNAVAILABLE', `the key store did not answer within ${timeoutMs} ms`)),
    );
    try {
      return await this.#options.run(AbortSignal.any([timeout.signal, this.#stopped.signal]));
    } finally {
      cancel();
    }
  }

  #schedule(): void {
    if (this.#stopped.signal.aborted) return;
    const { clock, intervalMs } = this.#options;
    const wait = this.#failures === 0 ? intervalMs : Math.min(intervalMs, FIRST_BACKOFF_MS * 2 ** (this.#failures - 1));
    this.#cancelTimer?.();
    this.#cancelTimer = clock.after(wait * (0.75 + 0.5 * Math.random()), () => this.trigger());
  }
}
