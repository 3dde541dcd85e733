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

/** What a handler throws to end a call with another status than OK. The message is sent to the caller: no secrets. */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  readonly status: GrpcStatusCode;

  constructor(status: GrpcStatusCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.status = status;
  }
}

/** One unary call, as a handler sees it. */
export interface Call {
  /**
   * Aborted, with a KmsError as its reason, when the deadline of `grpc-timeout` passes or the caller gives up. Made when it
   * is first asked for: a handler that answers at once should not ask.
   */
  readonly signal: AbortSignal;
  /** The same object for all calls of one connection. */
  readonly connection: object;
}

/**
 * Answers one unary call. `request` is the serialized message. Request and answer belong to the transport once the
 * handler has settled, and it wipes both: a handler keeps neither and returns a buffer of its own.
 */
export type Handler = (request: Buffer, call: Call) => Buffer | Promise<Buffer>;

/** Handlers by path, e.g. `/v2.KeyManagementService/Encrypt`. */
export type Routes = ReadonlyMap<string, Handler>;

/** Speaks gRPC over HTTP/2 on connections that somebody else accepted. */
export interface Transport {
  /** Takes the connection over. */
  accept(socket: Socket): void;
  /** Tells every client to go elsewhere (GOAWAY), lets calls under way finish, and cuts what is left after `graceMs`. */
  drain(graceMs: number): Promise<void>;
}

export type TransportFactory = (routes: Routes) => Transport;

/** Longest request message in bytes: a KMS v1 Decrypt carries up to 65,535 (transport.md §2 has the sum). */
export const MAX_REQUEST_BYTES = 128 * 1024;
