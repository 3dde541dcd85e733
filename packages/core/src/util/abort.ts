import { KmsError } from '../errors.ts';
import type { Clock } from './clock.ts';

/** What an aborted signal means for its caller: a deadline that passed, or a caller that gave up. */
export function abortError(signal: AbortSignal): KmsError {
  const reason: unknown = signal.reason;
  if (reason instanceof KmsError) return reason;
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new KmsError('ERR_KMS_DEADLINE_EXCEEDED', 'the deadline passed');
  }
  return new KmsError('ERR_KMS_CANCELLED', 'the caller gave up');
}

/**
 * `promise`, or an error as soon as `signal` is aborted. The work behind the promise goes on: others may wait for it.
 * @param discard - gets what arrives after the abort, for results that must be wiped
 */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal, discard?: (late: T) => void): Promise<T> {
  const outcome = Promise.withResolvers<T>();
  const onAbort = () => outcome.reject(abortError(signal));
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort);
  const settled = () => signal.removeEventListener('abort', onAbort);
  promise.then(
    (value) => {
      settled();
      if (signal.aborted) discard?.(value);
      else outcome.resolve(value);
    },
    // Also where nobody waits any more, or a late failure would be an unhandled rejection and end the process.
    (error: unknown) => {
      settled();
      outcome.reject(error);
    },
  );
  return outcome.promise;
}

/** A signal that aborts after `ms`, as `AbortSignal.timeout` does, by the given clock. */
export function timeoutSignal(clock: Clock, ms: number): AbortSignal {
  const timeout = new AbortController();
  clock.after(ms, () => timeout.abort(new DOMException('the deadline passed', 'TimeoutError')));
  return timeout.signal;
}
