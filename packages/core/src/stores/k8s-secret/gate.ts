import { abortError, unlessAborted } from '../../util/abort.ts';

/** Limits how many pieces of work run at a time. The others wait in the order in which they came. */
export class Gate {
  #free: number;
  readonly #waiting = new Set<() => void>();

  /** @param places - how many may run */
  constructor(places: number) {
    this.#free = places;
  }

  /** @throws {@link KmsError} as soon as `signal` aborts, if the work still waits then */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (signal.aborted) throw abortError(signal);
    if (this.#free > 0) this.#free--;
    else await this.#turn(signal);
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const enter = () => {
      this.#waiting.delete(enter);
      resolve(undefined);
    };
    this.#waiting.add(enter);
    try {
      await unlessAborted(promise, signal);
    } catch (error) {
      // The place may have come at the same moment.
      if (!this.#waiting.delete(enter)) this.#leave();
      throw error;
    }
  }

  #leave(): void {
    const [next] = this.#waiting;
    if (next) next();
    else this.#free++;
  }
}
