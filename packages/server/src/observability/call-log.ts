import type { Logger } from 'pino';
import type { CallRecord } from '../kms/endpoint.ts';
import { describeError } from './logging.ts';
import { GrpcStatus, statusName } from '../transport/seam.ts';

/** Failed calls that are logged one by one in each second; a storm of them must not cost the others their time. */
const MAX_FAILURES_PER_SECOND = 20;

/**
 * Logs a failed call at `warn` with its uid, by which kube-apiserver's own log names the object, and any other at
 * `debug`. Of many failures at once only the first are logged, and then how many there were.
 */
export class CallLog {
  readonly #log: Logger;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  write({ endpoint, status, durationMs, uid, error }: CallRecord): void {
    const level = status === GrpcStatus.OK ? 'debug' : 'warn';
    if (!this.#log.isLevelEnabled(level)) return;
    if (error && !this.#mayLogFailure()) return;
    const { api, method } = endpoint;
    const fields = { api, method, code: statusName(status), ms: Math.round(durationMs * 1000) / 1000, uid };
    if (error) this.#log.warn({ ...fields, error: describeError(error.cause ?? error) }, 'call failed');
    else this.#log.debug(fields, 'call');
  }

  #mayLogFailure(): boolean {
    this.#timer ??= setTimeout(() => {
      const suppressed = this.#failures - MAX_FAILURES_PER_SECOND;
      if (suppressed > 0) this.#log.warn({ suppressed }, 'more calls failed in this second than are logged');
      this.#failures = 0;
      this.#timer = undefined;
    }, 1_000).unref();
    return ++this.#failures <= MAX_FAILURES_PER_SECOND;
  }
}
