import type { Clock } from '@teapot-kms/core';
import type { Socket } from 'node:net';

/** gRPC status codes (grpc/grpc doc/statuscodes.md), as far as a unary server needs them. */
export const GrpcStatus = {
  OK: 0,
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
} as const;
export type GrpcStatusCode = (typeof GrpcStatus)[keyof typeof GrpcStatus];

const NAMES = new Map(Object.entries(GrpcStatus).map(([name, code]) => [code, name as keyof typeof GrpcStatus]));

/** The name of a status code, e.g. for a metric's label. */
export function statusName(code: GrpcStatusCode): keyof typeof GrpcStatus {
  return NAMES.get(code)!;
}

/** A handler throws this to end a call with another status than OK. The message is sent to the caller: no secrets. */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  readonly status: GrpcStatusCode;

  constructor(status: GrpcStatusCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.status = status;
  }
}

/** One unary call. */
export interface Call {
  /**
   * Aborted, with a KmsError as its reason, when the deadline of `grpc-timeout` passes or the caller gives up. It is created on
   * first use: a handler that answers at once should not read it.
   */
  readonly signal: AbortSignal;
  /** The same object for all calls of one connection. */
  readonly connection: object;
}

/** A serialized message, or one that is serialized where it is sent from. A Buffer is an answer. */
export interface Answer {
  /** Bytes. */
  readonly length: number;
  /** Writes the message to `out` at `at`. Returns its length. */
  copy(out: Buffer, at: number): number;
  /** Wipes what the message is made of. */
  fill(value: 0): unknown;
}

/**
 * Answers one unary call. `request` is the serialized message. The transport wipes request and answer once the handler has
 * settled, so a handler keeps neither and returns an answer of its own. It calls the handlers of all requests that one read brings in
 * the same turn of the event loop, so that they can form a batch.
 */
export type Handler = (request: Buffer, call: Call) => Answer | Promise<Answer>;

/** The bytes of an answer, as a buffer of its own. The answer is wiped. */
export function bytesOf(answer: Answer): Buffer {
  if (answer instanceof Buffer) return answer;
  const bytes = Buffer.allocUnsafeSlow(answer.length);
  answer.copy(bytes, 0);
  answer.fill(0);
  return bytes;
}

/** Handlers by path, e.g. `/v2.KeyManagementService/Encrypt`. */
export type Routes = ReadonlyMap<string, Handler>;

/** Serves gRPC over HTTP/2 on connections that a listener has accepted. */
export interface Transport {
  /** Serves this connection until it closes. */
  accept(socket: Socket): void;
  /** Connections that were ended because their client broke the protocol or a bound, by the name of an HTTP/2 error code. Absent: not counted. */
  readonly violations?: ReadonlyMap<string, number>;
  /** Sends GOAWAY to every client, lets calls under way finish, and closes what is left after `graceMs`. */
  drain(graceMs: number): Promise<void>;
}

export interface TransportOptions {
  readonly clock?: Clock | undefined;
  /** Calls that the handlers let wait at a time. Every connection may have more: what is answered at once never waits behind them. */
  readonly maxCalls?: number | undefined;
}

export type TransportFactory = (routes: Routes, options?: TransportOptions) => Transport;

/**
 * Streams that a connection may have open at a time.
 * @param maxCalls - {@link TransportOptions.maxCalls}. By default 1,000: kube-apiserver has 600 requests under way
 */
export function maxStreams(maxCalls = 1_000): number {
  return maxCalls + SPARE_STREAMS;
}

/** Calls of a connection that find a place beside those that wait for the key store: to be refused, or Status. */
const SPARE_STREAMS = 250;

/** Longest request message in bytes: a KMS v1 Decrypt carries up to 65,535 (transport.md §2 has the sum). */
export const MAX_REQUEST_BYTES = 128 * 1024;
