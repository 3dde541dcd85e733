import { systemClock } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import type { Logger } from 'pino';
import type { CallRecord } from '../kms/endpoint.ts';
import { describeError } from './logging.ts';
import { GrpcStatus, statusName } from '../transport/seam.ts';

/** Failed calls that are logged one by one in each second, so that a storm of failures does not slow the other calls down. */
const MAX_FAILURES_PER_SECOND = 20;

/**
 * Logs a failed call at `warn`, and any other at `debug`. kube-apiserver logs the same uid with the name of the object. Of many
 * failures in a second it logs the first ones, then their number.
 */
export class CallLog {
  readonly #log: Logger;
  readonly #clock: Clock;
  /** In this second. */
  #failures = 0;

  constructor(log: Logger, clock: Clock = systemClock) {
    this.#log = log;
    this.#clock = clock;
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
    if (this.#failures === 0) this.#clock.after(1_000, () => this.#endSecond());
    return ++this.#failures <= MAX_FAILURES_PER_SECOND;
  }

  #endSecond(): void {
    const suppressed = this.#failures - MAX_FAILURES_PER_SECOND;
    if (suppressed > 0) this.#log.warn({ suppressed }, 'more calls failed in this second than are logged');
    this.#failures = 0;
  }
}
