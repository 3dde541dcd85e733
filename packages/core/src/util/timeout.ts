import { unavailable } from '../errors.ts';
import type { Clock } from './clock.ts';

export interface Timeout {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** What did not answer, for the error. */
  readonly what: string;
}

/** Runs `work` with a signal that aborts after `timeoutMs`, with `ERR_KMS_STORE_UNAVAILABLE` as its reason. */
export async function withTimeout<T>(
  { clock, timeoutMs, what }: Timeout,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timeout = new AbortController();
  const cancel = clock.after(timeoutMs, () =>
    timeout.abort(unavailable(`${what} did not answer within ${timeoutMs} ms`)),
  );
  try {
    return await work(timeout.signal);
  } finally {
    cancel();
  }
}
