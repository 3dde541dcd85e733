import { backOffMs, jittered } from '../util/back-off.ts';
import { sleep } from '../util/clock.ts';
import type { Clock } from '../util/clock.ts';
import { withTimeout } from '../util/timeout.ts';

export interface RefresherOptions {
  readonly clock: Clock;
  /** Time in ms between two successful runs. */
  readonly intervalMs: number;
  /** Time in ms after which a run is aborted, so that a store that hangs does not end the loop. */
  readonly timeoutMs: number;
  /** Does the work and returns whether it succeeded. A run that throws has failed. */
  readonly run: (signal: AbortSignal) => Promise<boolean>;
}

/** Wait in ms after the first failure. It doubles with each further one, up to the interval. */
const FIRST_BACKOFF_MS = 500;
/** Least time in ms between two runs that requests have asked for. */
const ON_DEMAND_INTERVAL_MS = 1_000;

/**
 * Runs one task in the background: at jittered intervals, earlier on request, and with back-off after failures. No two runs are under way
 * at the same time.
 */
export class Refresher {
  readonly #options: RefresherOptions;
  readonly #stopped = new AbortController();
  #running: Promise<boolean> | undefined;
  #next: Promise<boolean> | undefined;
  #onDemand: Promise<boolean> | undefined;
  #onDemandAt = -Infinity;
  #cancelTimer: (() => void) | undefined;
  #failures = 0;

  constructor(options: RefresherOptions) {
    this.#options = options;
  }

  /**
   * Runs now, or joins a run that has not begun yet. A run that is under way is followed by another one.
   * @returns whether the run succeeded
   */
  refresh(): Promise<boolean> {
    return (this.#next ??= this.#startNext());
  }

  /** Like {@link Refresher.refresh}, for requests: concurrent callers share one run, at most one per second. */
  refreshOnDemand(): Promise<boolean> {
    this.#onDemand ??= this.#untilNextOnDemand().then(() => {
      // A caller that comes from now on must get a run that begins later.
      this.#onDemand = undefined;
      this.#onDemandAt = this.#options.clock.now();
      return this.refresh();
    });
    return this.#onDemand;
  }

  stop(): void {
    this.#stopped.abort();
    this.#cancelTimer?.();
  }

  async #untilNextOnDemand(): Promise<void> {
    const { clock } = this.#options;
    const waitMs = this.#onDemandAt + ON_DEMAND_INTERVAL_MS - clock.now();
    // The end of the wait at stop() is not an error: the run that follows is refused.
    if (waitMs > 0) await sleep(clock, waitMs, this.#stopped.signal).catch(() => undefined);
  }

  async #startNext(): Promise<boolean> {
    await this.#running;
    this.#next = undefined;
    if (this.#stopped.signal.aborted) return false;
    this.#cancelTimer?.();
    this.#running = this.#run();
    return this.#running;
  }

  async #run(): Promise<boolean> {
    const { clock, intervalMs, timeoutMs, run } = this.#options;
    const stopped = this.#stopped.signal;
    const work = (timeout: AbortSignal) => run(AbortSignal.any([timeout, stopped]));
    const good = await withTimeout(clock, timeoutMs, 'the key store', work).catch(() => false);
    this.#failures = good ? 0 : this.#failures + 1;
    if (!stopped.aborted) {
      const backOff = { firstMs: FIRST_BACKOFF_MS, longestMs: intervalMs };
      const wait = good ? jittered(intervalMs) : backOffMs(this.#failures, backOff);
      this.#cancelTimer = clock.after(wait, () => void this.refresh());
    }
    return good;
  }
}
