import type { Clock } from '../util/clock.ts';
import { KmsError } from '../errors.ts';

/** Refusals that make a loss certain: one alone may be a slip of the store (design D3). */
const CERTAIN_AFTER = 2;

/**
 * Turns the outcomes of background probes into what Status says (design D3): transient trouble is in-band and only
 * after a grace time, a key that is gone for certain is an error.
 */
export class StoreHealth {
  readonly #clock: Clock;
  readonly #graceMs: number;
  #lastGood: number | undefined;
  #goneSince: number | undefined;
  #goneCount = 0;
  #lastError: KmsError | undefined;

  /** @param graceMs - how long after the last good probe Status still says ok */
  constructor(clock: Clock, graceMs: number) {
    this.#clock = clock;
    this.#graceMs = graceMs;
  }

  /** The store answered well. Returns whether that is news. */
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
   * Trouble that does not take anything away: the store can be reached, but holds something damaged, and the keys in
   * memory go on. It is shown, and Status stays ok.
   */
  damaged(error: KmsError): void {
    this.good();
    this.#lastError = error;
  }

  get lastError(): KmsError | undefined {
    return this.#lastError;
  }

  /** ms for which the key has been gone for certain, or `undefined`. */
  get goneForMs(): number | undefined {
    return this.#goneSince === undefined ? undefined : this.#clock.now() - this.#goneSince;
  }

  get lastGoodAgeMs(): number | undefined {
    return this.#lastGood === undefined ? undefined : this.#clock.now() - this.#lastGood;
  }

  /**
   * @returns `ok`, or what is wrong
   * @throws {@link KmsError} `ERR_KMS_KEY_GONE` once the loss is certain
   */
  healthz(): string {
    if (this.#goneSince !== undefined) {
      throw new KmsError('ERR_KMS_KEY_GONE', this.#lastError?.message ?? 'the key is gone', { cause: this.#lastError });
    }
    const age = this.lastGoodAgeMs;
    if (age !== undefined && age <= this.#graceMs) return 'ok';
    const since = age === undefined ? '' : ` (last good answer ${Math.round(age / 1000)} s ago)`;
    return `${this.#lastError?.message ?? 'the key store has not answered yet'}${since}`;
  }
}
