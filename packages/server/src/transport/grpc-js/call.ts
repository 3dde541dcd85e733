import type { ServerUnaryCall } from '@grpc/grpc-js';
import { KmsError } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import type { Call } from '../seam.ts';

/** A {@link Call} of grpc-js, which watches the deadline itself. */
export class GrpcJsCall implements Call {
  readonly connection: object;
  readonly #call: ServerUnaryCall<Buffer, Buffer>;
  readonly #clock: Clock;
  #controller: AbortController | undefined;
  #ended = false;

  constructor(call: ServerUnaryCall<Buffer, Buffer>, connection: object, clock: Clock) {
    this.#call = call;
    this.connection = connection;
    this.#clock = clock;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#call.cancelled) this.#abort();
      else this.#call.once('cancelled', () => this.#abort());
    }
    return this.#controller.signal;
  }

  /** The call has its answer. grpc-js emits `cancelled` for every call in the end, and an error with its stack costs time. */
  end(): void {
    this.#ended = true;
  }

  #abort(): void {
    if (this.#ended) return;
    const deadline = this.#call.getDeadline();
    const due = (typeof deadline === 'number' ? deadline : deadline.getTime()) <= this.#clock.wall();
    this.#controller?.abort(
      due
        ? new KmsError('ERR_KMS_DEADLINE_EXCEEDED', 'the deadline passed')
        : new KmsError('ERR_KMS_CANCELLED', 'the caller gave up'),
    );
  }
}
