import type { MaybePromise } from '@teapot-kms/core';
import { GrpcStatus } from '../transport/seam.ts';
import type { Call, GrpcStatusCode, Handler, RpcError } from '../transport/seam.ts';

/** One method of one API, before it is observed and its errors are mapped. */
export interface Endpoint {
  readonly path: string;
  /** Labels of its metrics and log lines. */
  readonly api: 'v2' | 'v1beta1' | 'inspection';
  readonly method: string;
  /** @param note - the endpoint tells here what identifies the request in a log: its uid */
  handle(request: Buffer, call: Call, note: RequestNote): MaybePromise<Buffer>;
  toRpcError(error: unknown): RpcError;
}

export interface RequestNote {
  /** kube-apiserver's uid of a v2 request, which it logs with the object's name at v=6. */
  uid: string | undefined;
}

/** What is told of each call when it has ended. */
export interface CallRecord {
  readonly endpoint: Endpoint;
  readonly status: GrpcStatusCode;
  /** ms between the complete request and the answer. */
  readonly durationMs: number;
  readonly uid: string | undefined;
  readonly error: RpcError | undefined;
}

/** Told of each call when it begins and when it has ended. */
export interface CallObserver {
  /** @throws to refuse the call, which then has ended */
  began(endpoint: Endpoint): void;
  ended(record: CallRecord): void;
}

/** Makes a handler of an endpoint that reports each call and throws nothing but {@link RpcError}. */
export function toHandler(endpoint: Endpoint, observer: CallObserver): Handler {
  // No closures on the way of a call that is answered at once.
  const succeeded = (answer: Buffer, started: number, { uid }: RequestNote): Buffer => {
    const durationMs = performance.now() - started;
    observer.ended({ endpoint, status: GrpcStatus.OK, durationMs, uid, error: undefined });
    return answer;
  };
  const failed = (cause: unknown, started: number, { uid }: RequestNote): never => {
    const error = endpoint.toRpcError(cause);
    observer.ended({ endpoint, status: error.status, durationMs: performance.now() - started, uid, error });
    throw error;
  };
  return (request, call) => {
    const started = performance.now();
    const note: RequestNote = { uid: undefined };
    let answer: MaybePromise<Buffer>;
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

/** Continues with a value that may be there already, without a detour through the event loop when it is. */
export function andThen<T, R>(value: MaybePromise<T>, next: (value: T) => R): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value);
}
