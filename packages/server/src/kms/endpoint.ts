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
  uid?: string;
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
  return (request, call) => {
    const started = performance.now();
    const note: RequestNote = {};
    const finish = (status: GrpcStatusCode, error?: RpcError): void => {
      observer.ended({ endpoint, status, durationMs: performance.now() - started, uid: note.uid, error });
    };
    const succeed = (answer: Buffer): Buffer => {
      finish(GrpcStatus.OK);
      return answer;
    };
    const fail = (cause: unknown): never => {
      const error = endpoint.toRpcError(cause);
      finish(error.status, error);
      throw error;
    };
    try {
      observer.began(endpoint);
      const answer = endpoint.handle(request, call, note);
      return answer instanceof Promise ? answer.then(succeed, fail) : succeed(answer);
    } catch (error) {
      return fail(error);
    }
  };
}

/** Continues with a value that may be there already, without a detour through the event loop when it is. */
export function andThen<T, R>(value: MaybePromise<T>, next: (value: T) => R): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value);
}
