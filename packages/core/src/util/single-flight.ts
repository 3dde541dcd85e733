/** Runs one operation for all concurrent callers with the same key. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Promise<T>>();

  /** Operations in progress. */
  get size(): number {
    return this.#flights.size;
  }

  /** The operation in progress for `key`, if there is one. */
  join(key: string): Promise<T> | undefined {
    return this.#flights.get(key);
  }

  /** Starts `fn` for `key`, or joins the operation in progress. It continues if its first caller gives up. */
  run(key: string, fn: () => Promise<T>): Promise<T> {
    const underWay = this.#flights.get(key);
    if (underWay) return underWay;
    const flight = fn().finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }
}
