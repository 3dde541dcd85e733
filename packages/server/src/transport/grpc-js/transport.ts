import { Server, ServerCredentials, status as GrpcJsStatus } from '@grpc/grpc-js';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { GrpcStatus, MAX_REQUEST_BYTES, RpcError, statusName } from '../seam.ts';
import type { Handler, Routes, Transport } from '../seam.ts';
import { GrpcJsCall } from './call.ts';

/** Calls of one connection that run at a time; more wait in the client. grpc-js itself sets no limit. */
const MAX_CONCURRENT_STREAMS = 1_000;

/** ms that connections may stay open after the last call, for its answer to go out and the client to close. */
const LINGER_MS = 250;
const POLL_MS = 25;

const identity = (bytes: Buffer): Buffer => bytes;

/** The first transport: @grpc/grpc-js, fed with connections that our own listener accepted (design D9). */
export class GrpcJsTransport implements Transport {
  readonly #server: Server;
  readonly #injector: ReturnType<Server['createConnectionInjector']>;
  /** Connections by the name under which grpc-js knows them. */
  readonly #connections = new Map<string, Socket>();
  #accepted = 0;
  #inFlight = 0;

  constructor(routes: Routes) {
    this.#server = new Server({
      'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
      'grpc.max_concurrent_streams': MAX_CONCURRENT_STREAMS,
      'grpc.enable_channelz': 0,
    });
    for (const [path, handler] of routes) {
      this.#server.register(path, this.#unary(handler), identity, identity, 'unary');
    }
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  accept(socket: Socket): void {
    // A Unix socket has no peer address, and grpc-js shows handlers nothing of a connection but its peer's address;
    // so we give it one.
    const name = `connection-${++this.#accepted}`;
    Object.defineProperty(socket, 'remoteAddress', { value: name });
    this.#connections.set(name, socket);
    // Without a listener a reset connection would end the process.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#connections.delete(name));
    this.#injector.injectConnection(socket);
  }

  async drain(graceMs: number): Promise<void> {
    const sockets = [...this.#connections.values()];
    const closed = Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    // Closes every HTTP/2 session: GOAWAY, then the calls under way, then the socket. Its own callback comes at once on
    // Node 26, which closes the sessions before grpc-js does, and never for a session that its client has destroyed; so
    // the sockets are what we wait for.
    this.#server.tryShutdown(() => undefined);
    const deadline = performance.now() + graceMs;
    await Promise.race([closed, this.#untilQuiet(deadline)]);
    this.#server.forceShutdown();
    for (const socket of this.#connections.values()) socket.destroy();
  }

  /** A client that has no calls and does not close its connection either is not waited for. */
  async #untilQuiet(deadline: number): Promise<void> {
    for (let quietSince = performance.now(); ;) {
      await sleep(POLL_MS);
      const now = performance.now();
      if (this.#inFlight > 0) quietSince = now;
      if (now >= deadline || now - quietSince >= LINGER_MS) return;
    }
  }

  #unary(handler: Handler) {
    return (serverCall: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void => {
      if (serverCall.cancelled) return;
      this.#inFlight++;
      const request = serverCall.request;
      const call = new GrpcJsCall(serverCall, this.#connections.get(serverCall.getPeer()) ?? this);
      const succeed = (response: Buffer) => {
        this.#inFlight--;
        call.end();
        // grpc-js copies the answer before the callback returns.
        callback(null, response);
        request.fill(0);
        response.fill(0);
      };
      const fail = (error: unknown) => {
        this.#inFlight--;
        call.end();
        const { status, message } =
          error instanceof RpcError ? error : { status: GrpcStatus.INTERNAL, message: 'internal error' };
        callback({ code: GrpcJsStatus[statusName(status)], details: message });
        request.fill(0);
      };
      try {
        const answer = handler(request, call);
        if (answer instanceof Promise) answer.then(succeed, fail);
        else succeed(answer);
      } catch (error) {
        fail(error);
      }
    };
  }
}
