import { GrpcStatus, RpcError } from '../seam.ts';
import type { Answer, Routes } from '../seam.ts';
import type { ByteAccount } from './byte-budget.ts';
import type { Credits } from './credits.ts';
import { ConnectionError } from './errors.ts';
import { ANSWER_TIMEOUT_MS, MAX_CONNECTION_BYTES, MAX_IGNORED_BYTES, REQUEST_TIMEOUT_MS } from './limits.ts';
import type { Output } from './output.ts';
import type { RequestHead } from './request-head.ts';
import { releaseMessage, RequestMessage, wholeMessage } from './request-message.ts';
import type { MessageFault } from './request-message.ts';
import { errorBlock, httpBlock, unsupportedEncodingBlock } from './response-blocks.ts';
import { Stream } from './stream.ts';

export interface CallsOptions {
  readonly routes: Routes;
  readonly maxStreams: number;
  readonly output: Output;
  readonly credits: Credits;
  readonly account: ByteAccount;
  /** The same object for all calls of the connection. */
  readonly connection: object;
  /** Called when the first answer waits that was not given at once: {@link Calls.writeReady} writes it. */
  readonly onReady: () => void;
  /** Called when a stream is closed before the client has ended its request. */
  readonly onEarlyClose: (id: number) => void;
}

const BAD_TIMEOUT = errorBlock(GrpcStatus.INTERNAL, 'malformed grpc-timeout', 400);
const UNKNOWN_METHOD = errorBlock(GrpcStatus.UNIMPLEMENTED, 'unknown service or method');
const TOO_MANY_BYTES: MessageFault = {
  status: GrpcStatus.RESOURCE_EXHAUSTED,
  text: 'too many bytes of requests and answers wait on this connection',
};
const DEADLINE_PASSED = errorBlock(GrpcStatus.DEADLINE_EXCEEDED, "the call's deadline passed");

interface Ready {
  readonly stream: Stream;
  readonly answer: Answer | undefined;
  readonly error: unknown;
}

/** The unary calls of one connection: from a request's head and bytes to its answer (grpc PROTOCOL-HTTP2). */
export class Calls {
  readonly #options: CallsOptions;
  readonly #open = new Map<number, Stream>();
  #ready: Ready[] = [];
  /** Places taken. A handler holds one until it settles, also for a stream that was reset (CVE-2023-44487). */
  #places = 0;
  /** Requests that cost a handler's call or an answer since the connection's last turn. */
  servedInTurn = 0;

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  /** Calls that are not answered, and handlers that have not settled. */
  get pending(): number {
    return this.#places;
  }

  find(id: number): Stream | undefined {
    return this.#open.get(id);
  }

  get streams(): Iterable<Stream> {
    return this.#open.values();
  }

  /** Begins a call with its decoded head. */
  begin(id: number, head: RequestHead, endsStream: boolean, now: number): void {
    const { routes, maxStreams, output, credits, onEarlyClose, connection } = this.#options;
    if (this.#places >= maxStreams) {
      this.servedInTurn++;
      credits.spend();
      output.reset(id, 'REFUSED_STREAM');
      if (!endsStream) onEarlyClose(id);
      return;
    }
    const handler = head.isPost && head.isGrpc ? routes.get(head.path) : undefined;
    const stream = new Stream(id, connection, handler, head, now);
    stream.requestEnded = endsStream;
    stream.expiresAt = Math.min(stream.deadline, now + REQUEST_TIMEOUT_MS);
    this.#open.set(id, stream);
    this.#places++;
    stream.isHead = head.isHead;
    if (!head.isPost) stream.httpStatus = 405;
    else if (!head.isGrpc) stream.httpStatus = 415;
    else if (head.timeoutMs < 0) return output.trailersOnly(stream, BAD_TIMEOUT);
    else if (!handler) return output.trailersOnly(stream, UNKNOWN_METHOD);
    if (endsStream) this.end(stream, now);
  }

  /** Takes DATA of an open call. */
  data(stream: Stream, bytes: Buffer, start: number, end: number, endsStream: boolean, now: number): void {
    if (!stream.handler) {
      if (endsStream) this.end(stream, now);
      // The rest of a long request is not waited for: its stream window gets no credit.
      else if (stream.received > MAX_IGNORED_BYTES) this.#answerHttp(stream, now);
      return;
    }
    if (endsStream && !stream.message) {
      const whole = wholeMessage(bytes, start, end);
      if (whole) {
        this.#checkLength(stream);
        stream.requestEnded = true;
        return this.#call(stream, whole, now);
      }
    }
    stream.requestEnded = endsStream;
    const message = (stream.message ??= new RequestMessage(stream.hasEncoding));
    const fault = message.add(bytes, start, end);
    this.#hold(stream, message.heldBytes);
    if (fault) return this.#refuse(stream, fault);
    if (endsStream) return this.end(stream, now);
    if (this.#options.account.bytes > MAX_CONNECTION_BYTES) this.#refuse(stream, TOO_MANY_BYTES);
  }

  /** The client has ended its side. */
  end(stream: Stream, now: number): void {
    stream.requestEnded = true;
    this.#checkLength(stream);
    if (!stream.handler) return this.#answerHttp(stream, now);
    const message = (stream.message ?? new RequestMessage(false)).finish();
    this.#hold(stream, 0);
    if ('status' in message) this.#refuse(stream, message);
    else this.#call(stream, message, now);
  }

  /** The client has reset the stream. */
  cancel(stream: Stream): void {
    stream.abort('ERR_KMS_CANCELLED');
    this.#options.output.drop(stream);
    this.#close(stream);
  }

  /** Writes the answers that have come since the last time. */
  writeReady(): void {
    const ready = this.#ready;
    this.#ready = [];
    for (const { stream, answer, error } of ready) this.#write(stream, answer, error);
  }

  /** Gives up the calls whose time is over. Returns whether any call is left. */
  expire(now: number): boolean {
    const { output, onEarlyClose } = this.#options;
    for (const stream of this.#open.values()) {
      if (stream.expiresAt > now) continue;
      const begun = output.drop(stream);
      if (stream.deadline <= now && !begun) {
        stream.abort('ERR_KMS_DEADLINE_EXCEEDED');
        output.trailersOnly(stream, DEADLINE_PASSED);
      } else {
        // The request did not arrive in time, or the client did not take its answer.
        output.reset(stream.id, 'CANCEL');
        if (!stream.requestEnded) onEarlyClose(stream.id);
        stream.abort('ERR_KMS_CANCELLED');
        this.#close(stream);
      }
    }
    return this.#places > 0;
  }

  /** The connection is gone. */
  destroy(): void {
    for (const stream of this.#open.values()) this.cancel(stream);
    for (const { answer } of this.#ready) answer?.fill(0);
    this.#ready = [];
  }

  /** The last byte of an answer was written. */
  answered(stream: Stream): void {
    const { credits, output, onEarlyClose } = this.#options;
    // A call that no handler saw is work that carries nothing.
    if (stream.served) credits.earn();
    else {
      this.servedInTurn++;
      credits.spend();
    }
    if (!stream.requestEnded) {
      output.reset(stream.id, 'NO_ERROR');
      onEarlyClose(stream.id);
    }
    this.#close(stream);
  }

  #close(stream: Stream): void {
    if (stream.closed) return;
    stream.closed = true;
    this.#open.delete(stream.id);
    stream.message?.destroy();
    if (stream.running) return;
    this.#hold(stream, 0);
    this.#places--;
  }

  /** Once: a request that goes on after it is ignored. */
  #answerHttp(stream: Stream, now: number): void {
    if (stream.httpStatus === 0) return;
    const block = httpBlock(stream.httpStatus);
    stream.httpStatus = 0;
    stream.expiresAt = now + ANSWER_TIMEOUT_MS;
    if (stream.isHead) this.#options.output.trailersOnly(stream, block);
    else this.#options.output.http(stream, block, 'This socket serves gRPC only.\n');
  }

  #hold(stream: Stream, bytes: number): void {
    const more = bytes - stream.heldBytes;
    stream.heldBytes = bytes;
    this.#options.account.hold(more);
  }

  #call(stream: Stream, message: Buffer, now: number): void {
    const { output } = this.#options;
    this.servedInTurn++;
    stream.served = true;
    if (stream.deadline <= now) {
      // In a storm most queued work is dead already: nobody waits for it.
      releaseMessage(message);
      return output.trailersOnly(stream, DEADLINE_PASSED);
    }
    if (this.#options.account.bytes + message.length > MAX_CONNECTION_BYTES) {
      releaseMessage(message);
      return this.#refuse(stream, TOO_MANY_BYTES);
    }
    stream.expiresAt = Math.min(stream.deadline, now + ANSWER_TIMEOUT_MS);
    let answer: Answer | Promise<Answer>;
    try {
      answer = stream.handler!(message, stream);
    } catch (error) {
      message.fill(0);
      return this.#write(stream, undefined, error);
    }
    if (!(answer instanceof Promise)) {
      releaseMessage(message);
      return this.#write(stream, answer, undefined);
    }
    stream.running = true;
    answer.then(
      (value) => this.#settled(stream, message, value, undefined),
      (error: unknown) => this.#settled(stream, message, undefined, error),
    );
    this.#hold(stream, message.length);
  }

  #settled(stream: Stream, message: Buffer, answer: Answer | undefined, error: unknown): void {
    message.fill(0);
    this.#hold(stream, 0);
    stream.running = false;
    if (stream.closed) {
      this.#places--;
      answer?.fill(0);
      return;
    }
    if (this.#ready.push({ stream, answer, error }) === 1) this.#options.onReady();
  }

  #write(stream: Stream, answer: Answer | undefined, error: unknown): void {
    if (stream.closed) answer?.fill(0);
    else if (answer) this.#options.output.answer(stream, answer);
    else {
      const known = error instanceof RpcError ? error : new RpcError(GrpcStatus.INTERNAL, 'internal error');
      this.#options.output.trailersOnly(stream, errorBlock(known.status, known.message));
    }
  }

  #refuse(stream: Stream, { status, text, encoding }: MessageFault): void {
    this.#options.output.trailersOnly(
      stream,
      encoding ? unsupportedEncodingBlock(status, text) : errorBlock(status, text),
    );
  }

  /** RFC 9113 §8.1.1: content-length is the sum of all DATA. */
  #checkLength({ contentLength, received }: Stream): void {
    if (contentLength >= 0 && contentLength !== received)
      throw new ConnectionError('PROTOCOL_ERROR', 'content-length is not the length of the content');
  }
}
