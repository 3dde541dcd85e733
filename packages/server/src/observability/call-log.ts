import { safeText, systemClock } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import type { Logger } from 'pino';
import type { CallRecord } from '../kms/endpoint.ts';
import { LineLimit } from './line-limit.ts';
import { describeError } from './logging.ts';
import { GrpcStatus, statusName } from '../transport/seam.ts';

/** Failed calls that are logged one by one in each second, so that a storm of failures does not slow the other calls down. */
const MAX_FAILURES_PER_SECOND = 20;
/** The same for calls at level `debug`. */
const MAX_CALLS_PER_SECOND = 1_000;
/** kube-apiserver sends UUIDs. Others may send anything. */
const MAX_UID = 64;

/**
 * Logs a failed call at `warn`, and any other at `debug`. kube-apiserver logs the same uid with the name of the object. Of many calls in a second
 * it logs the first ones, then the number of the others.
 */
export class CallLog {
  readonly #log: Logger;
  readonly #failures: LineLimit;
  readonly #calls: LineLimit;

  constructor(log: Logger, clock: Clock = systemClock) {
    this.#log = log;
    const limit = (perSecond: number, text: string) => new LineLimit({ log, clock, perSecond, text });
    this.#failures = limit(MAX_FAILURES_PER_SECOND, 'more calls failed in this second than are logged');
    this.#calls = limit(MAX_CALLS_PER_SECOND, 'there were more calls in this second than are logged');
  }

  write({ endpoint, status, durationMs, uid, error }: CallRecord): void {
    const level = status === GrpcStatus.OK ? 'debug' : 'warn';
    if (!this.#log.isLevelEnabled(level)) return;
    if (!(error ? this.#failures : this.#calls).mayWrite()) return;
    const { api, method } = endpoint;
    const ms = Math.round(durationMs * 1000) / 1000;
    const fields = { api, method, code: statusName(status), ms, uid: uid && safeText(uid, MAX_UID) };
    if (error) this.#log.warn({ ...fields, error: describeError(error.cause ?? error) }, 'call failed');
    else this.#log.debug(fields, 'call');
  }
}
