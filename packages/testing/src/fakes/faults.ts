import { abortError } from '@teapot-kms/core/internal';
import { KmsError } from '@teapot-kms/core';
import type { KmsErrorCode } from '@teapot-kms/core';

/** What goes wrong in one operation of a fake key store. Everything is well until a test says otherwise. */
export class Faults {
  /** The operation fails with this code. */
  failWith: KmsErrorCode | undefined;
  /** The operation does not answer until its signal is aborted. */
  hang = false;
  /** Real ms that the operation takes. */
  latencyMs = 0;
  /** Operations begun. */
  calls = 0;
  /** Operations under way. */
  underWay = 0;
  /** Most operations that were under way at a time. */
  mostUnderWay = 0;
  #gate: Promise<void> | undefined;

  /**
   * Holds all operations, those to come as well, whatever their signals say: a store that takes no notice of an abort.
   * @returns what lets them go on
   */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#gate = promise;
    return () => {
      this.#gate = undefined;
      resolve(undefined);
    };
  }

  /** Runs `work` with the faults that are set now. */
  async around<T>(signal: AbortSignal, work: () => T | Promise<T>): Promise<T> {
    this.calls++;
    this.underWay++;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
    try {
      if (this.#gate) await this.#gate;
      else if (signal.aborted) throw abortError(signal);
      if (this.hang) await untilAborted(signal);
      if (this.latencyMs > 0) await new Promise((resolve) => setTimeout(resolve, this.latencyMs));
      // A store is never answered in the same turn.
      else await Promise.resolve();
      if (this.failWith) throw new KmsError(this.failWith, `injected ${this.failWith}`);
      return await work();
    } finally {
      this.underWay--;
    }
  }
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const onAbort = () => reject(abortError(signal));
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
