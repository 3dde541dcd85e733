import type { Clock } from '../util/clock.ts';

/** Most ids in the cache. They come from requests, so they must not fill the memory. */
const MAX_ENTRIES = 1_000;

/** Remembers for a while which ids were not found. */
export class NegativeCache {
  readonly #clock: Clock;
  readonly #ttlMs: number;
  readonly #until = new Map<string, number>();

  constructor(clock: Clock, ttlMs: number) {
    this.#clock = clock;
    this.#ttlMs = ttlMs;
  }

  has(id: string): boolean {
    const until = this.#until.get(id);
    return until !== undefined && until > this.#clock.now();
  }

  /** @returns false if the id was already in the cache */
  add(id: string): boolean {
    if (this.has(id)) return false;
    this.#until.delete(id);
    this.#until.set(id, this.#clock.now() + this.#ttlMs);
    if (this.#until.size > MAX_ENTRIES) this.#until.delete(this.#until.keys().next().value!);
    return true;
  }
}
