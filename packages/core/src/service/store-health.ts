import type { Clock } from '../util/clock.ts';
import { KmsError } from '../errors.ts';

/** Refusals in a row that make a loss certain. A single one may be a mistake of the store (design D3). */
const CERTAIN_AFTER = 2;

/**
 * Turns the results of background probes into what Status reports (design D3). A transient failure shows in `healthz` after a grace time. A
 * key that is gone for certain is an error.
 */
export class StoreHealth {
  readonly #clock: Clock;
  readonly #graceMs: number;
  #lastGood: number | undefined;
  #goneSince: number | undefined;
  #goneCount = 0;
  #lastError: KmsError | undefined;

  /** @param graceMs - time after the last good probe in which Status stays ok */
  constructor(clock: Clock, graceMs: number) {
    this.#clock = clock;
    this.#graceMs = graceMs;
  }

  /** A probe succeeded. Returns whether the one before did not. */
  good(): boolean {
    const news = this.#lastError !== undefined || this.#lastGood === undefined;
    this.#lastGood = this.#clock.now();
    this.#goneCount = 0;
    this.#goneSince = undefined;
    this.#lastError = undefined;
    return news;
  }

  failed(error: KmsError): void {
    this.#lastError = error;
    if (error.code !== 'ERR_KMS_KEY_GONE') return;
    this.#goneCount++;
    if (this.#goneCount === CERTAIN_AFTER) this.#goneSince = this.#clock.now();
  }

  /**
   * The store can be reached but holds something damaged. The keys in memory stay in use, Status stays ok, and the error is shown to
   * operators.
   */
  damaged(error: KmsError): void {
    this.good();
    this.#lastError = error;
  }

  get lastError(): KmsError | undefined {
    return this.#lastError;
  }

  /** Time in ms since the key is gone for certain; `undefined` if it is not. */
  get goneForMs(): number | undefined {
    return this.#goneSince === undefined ? undefined : this.#clock.now() - this.#goneSince;
  }

  /** Time in ms since the last good probe; `undefined` before the first one. */
  get lastGoodAgeMs(): number | undefined {
    return this.#lastGood === undefined ? undefined : this.#clock.now() - this.#lastGood;
  }

  /**
   * @returns `ok`, or the reason why not
   * @throws {@link KmsError} `ERR_KMS_KEY_GONE` if the loss is certain
   */
  healthz(): string {
    if (this.#goneSince !== undefined) {
      const cause = this.#lastError;
      throw new KmsError('ERR_KMS_KEY_GONE', cause?.message ?? 'the key is gone', { cause, remedy: cause?.remedy });
    }
    const age = this.lastGoodAgeMs;
    if (age !== undefined && age <= this.#graceMs) return 'ok';
    const since = age === undefined ? '' : ` (last good answer ${Math.round(age / 1000)} s ago)`;
    return `${this.#lastError?.message ?? 'the key store has not answered yet'}${since}`;
  }
}
