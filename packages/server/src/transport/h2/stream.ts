import { KmsError } from '@teapot-kms/core';
import type { Call, Handler } from '../seam.ts';
import type { RequestHead } from './request-head.ts';
import type { RequestMessage } from './request-message.ts';

/** One stream, which is one unary call. */
export class Stream implements Call {
  readonly id: number;
  readonly connection: object;
  /** `undefined` for a request that is answered without one: an HTTP error. */
  readonly handler: Handler | undefined;
  /** Monotonic ms; `Infinity` without one. */
  readonly deadline: number;
  /** Monotonic ms at which the stream is given up: for the request to arrive, then for the answer to leave. */
  expiresAt: number;
  readonly hasEncoding: boolean;
  readonly contentLength: number;
  /** HTTP status of the answer to a request that is not gRPC; 0 for gRPC, and once that answer was given. */
  httpStatus = 0;
  isHead = false;
  /** Its handler was called. */
  served = false;
  /** Bytes of DATA so far. */
  received = 0;
  dataFrames = 0;
  /** Bytes of the request that are held until the rest arrives, or until its handler has settled. */
  heldBytes = 0;
  requestEnded = false;
  /** The handler has begun and not settled. */
  running = false;
  /** Nothing more may be sent: it was answered, or either side has reset it. */
  closed = false;
  /** What WINDOW_UPDATE added, less what was sent: the send window is this and the client's initial window. */
  sendDelta = 0;
  message: RequestMessage | undefined;
  #controller: AbortController | undefined;
  #abortedWith: KmsError | undefined;

  constructor(id: number, connection: object, handler: Handler | undefined, head: RequestHead, now: number) {
    this.id = id;
    this.connection = connection;
    this.handler = handler;
    this.deadline = now + head.timeoutMs;
    this.expiresAt = Infinity;
    this.hasEncoding = head.hasEncoding && !head.isIdentity;
    this.contentLength = head.contentLength;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#abortedWith) this.#controller.abort(this.#abortedWith);
    }
    return this.#controller.signal;
  }

  /** Tells the handler that nobody waits for its answer any more. */
  abort(code: 'ERR_KMS_DEADLINE_EXCEEDED' | 'ERR_KMS_CANCELLED'): void {
    if (this.#abortedWith) return;
    this.#abortedWith = new KmsError(
      code,
      code === 'ERR_KMS_CANCELLED' ? 'the caller cancelled the call' : "the call's deadline passed",
    );
    this.#controller?.abort(this.#abortedWith);
  }
}
