import { unavailable } from '../errors.ts';
import type { Clock } from './clock.ts';

/**
 * Runs `work` with a signal that aborts after `ms`, with `ERR_KMS_STORE_UNAVAILABLE` as its reason.
 * @param what - names what did not answer
 */
export async function withTimeout<T>(
  clock: Clock,
  ms: number,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timeout = new AbortController();
  const cancel = clock.after(ms, () => timeout.abort(unavailable(`${what} did not answer within ${ms} ms`)));
  try {
    return await work(timeout.signal);
  } finally {
    cancel();
  }
}

/** Returns whether `promise` resolves within `ms`. The process stays alive until one of both happens. */
export function resolvesWithin(clock: Clock, ms: number, promise: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () => resolve(false), true);
    promise.then(() => resolve(true), reject).finally(cancel);
  });
}
