import type { Clock } from '@teapot-kms/core';
import type { Logger } from 'pino';

export interface LineLimitOptions {
  readonly log: Logger;
  readonly clock: Clock;
  /** Lines that are written in each second. */
  readonly perSecond: number;
  /** What the others are called, for example `more calls failed in this second than are logged`. */
  readonly text: string;
}

/** Limits the lines of one source of one instance: of each second it lets the first ones through, and then says how many more there were. */
export class LineLimit {
  readonly #options: LineLimitOptions;
  /** In this second. */
  #lines = 0;

  constructor(options: LineLimitOptions) {
    this.#options = options;
  }

  /** Whether a line may be written now. Counts it. */
  mayWrite(): boolean {
    if (this.#lines === 0) this.#options.clock.after(1_000, () => this.#endSecond());
    return ++this.#lines <= this.#options.perSecond;
  }

  #endSecond(): void {
    const { log, perSecond, text } = this.#options;
    const suppressed = this.#lines - perSecond;
    if (suppressed > 0) log.warn({ suppressed }, text);
    this.#lines = 0;
  }
}
