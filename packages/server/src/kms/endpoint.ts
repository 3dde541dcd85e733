import { systemClock } from '@teapot-kms/core';
import type { Clock, MaybePromise } from '@teapot-kms/core';
import { GrpcStatus } from '../transport/seam.ts';
import type { Answer, Call, GrpcStatusCode, Handler, RpcError } from '../transport/seam.ts';

/** One method of one API, without metrics, logs and mapping of errors. */
export interface Endpoint {
  readonly path: string;
  /** Labels of its metrics and log lines. */
  readonly api: 'v2' | 'v1beta1' | 'inspection';
  readonly method: string;
  /** @param note - receives what identifies the request in a log */
  handle(request: Buffer, call: Call, note: RequestNote): MaybePromise<Answer>;
  toRpcError(error: unknown): RpcError;
}

export interface RequestNote {
  /** kube-apiserver's uid of a v2 request, which it logs with the object's name at v=6. */
  uid: string | undefined;
  /** The key that a v2 request names, or that its answer does. */
  keyId: string | undefined;
}

/** A call that has ended. */
export interface CallRecord {
  readonly endpoint: Endpoint;
  readonly status: GrpcStatusCode;
  /** ms between the complete request and the answer. */
  readonly durationMs: number;
  readonly uid: string | undefined;
  readonly keyId: string | undefined;
  readonly error: RpcError | undefined;
}

/** Sees each call when it begins and when it has ended. */
export interface CallObserver {
  /** @throws to refuse the call; `ended` follows */
  began(endpoint: Endpoint): void;
  ended(record: CallRecord): void;
}

/** Makes an endpoint a handler that reports each call and throws only {@link RpcError}. */
export function toHandler(endpoint: Endpoint, observer: CallObserver, clock: Clock = systemClock): Handler {
  // A call that is answered at once makes no closure.
  const succeeded = (answer: Answer, started: number, { uid, keyId }: RequestNote): Answer => {
    const durationMs = clock.now() - started;
    observer.ended({ endpoint, status: GrpcStatus.OK, durationMs, uid, keyId, error: undefined });
    return answer;
  };
  const failed = (cause: unknown, started: number, { uid, keyId }: RequestNote): never => {
    const error = endpoint.toRpcError(cause);
    observer.ended({ endpoint, status: error.status, durationMs: clock.now() - started, uid, keyId, error });
    throw error;
  };
  return (request, call) => {
    const started = clock.now();
    const note: RequestNote = { uid: undefined, keyId: undefined };
    let answer: MaybePromise<Answer>;
    try {
      observer.began(endpoint);
      answer = endpoint.handle(request, call, note);
    } catch (error) {
      return failed(error, started, note);
    }
    if (!(answer instanceof Promise)) return succeeded(answer, started, note);
    return answer.then(
      (later) => succeeded(later, started, note),
      (error: unknown) => failed(error, started, note),
    );
  };
}

/** Continues with a value. A value that is there already takes no turn of the event loop. */
export function andThen<T, R>(value: MaybePromise<T>, next: (value: T) => R): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value);
}
