import { logVerbosity, Server, ServerCredentials, setLogVerbosity, status as GrpcJsStatus } from '@grpc/grpc-js';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import { sleep, systemClock } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import type { Socket } from 'node:net';
import { bytesOf, GrpcStatus, MAX_REQUEST_BYTES, maxStreams, RpcError, statusName } from '../seam.ts';
import type { Answer, Handler, Routes, Transport, TransportOptions } from '../seam.ts';
import { GrpcJsCall } from './call.ts';

/** Time in ms that connections may stay open after the last call, for its answer to go out and the client to close. */
const LINGER_MS = 250;
const POLL_MS = 25;

const identity = (bytes: Buffer): Buffer => bytes;

/** The plain @grpc/grpc-js on connections that our own listener accepted (design D9): the reference for the transport of our own. */
export class GrpcJsTransport implements Transport {
  readonly #server: Server;
  readonly #clock: Clock;
  readonly #injector: ReturnType<Server['createConnectionInjector']>;
  /** Connections by the peer name that grpc-js has for them. */
  readonly #connections = new Map<string, Socket>();
  #accepted = 0;
  #inFlight = 0;

  constructor(routes: Routes, { clock = systemClock, maxCalls }: TransportOptions = {}) {
    this.#clock = clock;
    // It logs what clients send, with its values, and without a limit.
    setLogVerbosity(logVerbosity.NONE);
    this.#server = new Server({
      'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
      // By default neither grpc-js nor Node bounds them.
      'grpc.max_concurrent_streams': maxStreams(maxCalls),
      'grpc.enable_channelz': 0,
    });
    for (const [path, handler] of routes) {
      this.#server.register(path, this.#unary(handler), identity, identity, 'unary');
    }
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  accept(socket: Socket): void {
    // The peer's address is all that grpc-js shows a handler of a connection. A Unix socket has none, so it gets a name here.
    const name = `connection-${++this.#accepted}`;
    Object.defineProperty(socket, 'remoteAddress', { value: name });
    this.#connections.set(name, socket);
    // Without a listener, a reset connection would end the process.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#connections.delete(name));
    this.#injector.injectConnection(socket);
  }

  async drain(graceMs: number): Promise<void> {
    const closed = Promise.all(
      [...this.#connections.values()].map((socket) => new Promise((resolve) => socket.once('close', resolve))),
    );
    // Closes each HTTP/2 session: GOAWAY, then the calls under way, then the socket. The callback is of no use: Node 26 closes the
    // sessions before grpc-js does, so it comes at once, and it never comes for a session that its client has destroyed.
    this.#server.tryShutdown(() => undefined);
    await Promise.race([closed, this.#untilQuiet(this.#clock.now() + graceMs)]);
    this.#server.forceShutdown();
    for (const socket of this.#connections.values()) socket.destroy();
  }

  /** Resolves at the deadline, or when no call has been under way for a while: a client may keep its connection open. */
  async #untilQuiet(deadline: number): Promise<void> {
    for (let quietSince = this.#clock.now(); ;) {
      await sleep(this.#clock, POLL_MS);
      const now = this.#clock.now();
      if (this.#inFlight > 0) quietSince = now;
      if (now >= deadline || now - quietSince >= LINGER_MS) return;
    }
  }

  #unary(handler: Handler) {
    return (serverCall: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void => {
      const connection = this.#connections.get(serverCall.getPeer());
      if (!connection) return;
      const { request } = serverCall;
      const call = new GrpcJsCall(serverCall, connection, this.#clock);
      const end: typeof callback = (error, response) => {
        this.#inFlight--;
        call.end();
        // grpc-js copies the answer before the callback returns.
        callback(error, response);
        request.fill(0);
        response?.fill(0);
      };
      const succeed = (answer: Answer): void => end(null, bytesOf(answer));
      const fail = (error: unknown): void => {
        const { status, message } =
          error instanceof RpcError ? error : { status: GrpcStatus.INTERNAL, message: 'internal error' };
        end({ code: GrpcJsStatus[statusName(status)], details: message });
      };
      this.#inFlight++;
      let answer: Answer | Promise<Answer>;
      try {
        answer = handler(request, call);
      } catch (error) {
        return fail(error);
      }
      if (answer instanceof Promise) answer.then(succeed, fail);
      else succeed(answer);
    };
  }
}
