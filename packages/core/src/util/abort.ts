import { KmsError } from '../errors.ts';
import type { Clock } from './clock.ts';

/** The error for an aborted signal: the deadline passed, or the caller gave up. */
export function abortError(signal: AbortSignal): KmsError {
  const reason: unknown = signal.reason;
  if (reason instanceof KmsError) return reason;
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new KmsError('ERR_KMS_DEADLINE_EXCEEDED', 'the deadline passed');
  }
  return new KmsError('ERR_KMS_CANCELLED', 'the caller gave up');
}

/**
 * Settles as `promise` does, or rejects as soon as `signal` aborts. The work behind the promise continues: others may wait for it.
 * @param discard - receives a result that arrives after the abort, to wipe it
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
    // Also handles a failure after the abort. As an unhandled rejection it would end the process.
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
