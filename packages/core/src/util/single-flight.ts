/** Runs one operation for all who ask for the same thing at the same time. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Promise<T>>();

  /** Operations under way. */
  get size(): number {
    return this.#flights.size;
  }

  /** The operation under way for `key`, if there is one. */
  join(key: string): Promise<T> | undefined {
    return this.#flights.get(key);
  }

  /** Starts `fn` for `key`, or joins the one under way. It goes on even when its first caller gives up. */
  run(key: string, fn: () => Promise<T>): Promise<T> {
    const underWay = this.#flights.get(key);
    if (underWay) return underWay;
    const flight = fn().finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }
}
