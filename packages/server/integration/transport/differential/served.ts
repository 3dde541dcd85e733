import type { KmsError } from '@teapot-kms/core';
import { newDirectory } from '@teapot-kms/testing';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { RpcError } from '../../../src/transport/seam.ts';
import type { GrpcStatusCode, Handler, Transport, TransportFactory } from '../../../src/transport/seam.ts';
import { SocketListener } from '../../../src/transport/socket.ts';

interface Hanging {
  readonly begun: PromiseWithResolvers<void>;
  readonly aborted: PromiseWithResolvers<string>;
}

/** A transport on a socket of its own, with the handlers that planned calls name. */
export class Served {
  readonly socket = join(newDirectory(), 's');
  readonly #transport: Transport;
  readonly #hanging = new Map<string, Hanging>();
  #listener: SocketListener | undefined;

  constructor(factory: TransportFactory) {
    const routes: Record<string, Handler> = {
      '/test/Echo': (request) => Buffer.from(request),
      '/test/Later': async (request) => {
        const copy = Buffer.from(request);
        await nextTurn();
        return copy;
      },
      '/test/Size': (request) => Buffer.alloc(request.readUInt32BE(0), 'answer'),
      '/test/Fail': (request) => {
        throw new RpcError(request[0] as GrpcStatusCode, request.toString('utf8', 1));
      },
      '/test/Throw': () => {
        throw new TypeError('secret detail');
      },
      '/test/Hang': (request, { signal }) => {
        const { begun, aborted } = this.#find(request);
        begun.resolve();
        return new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            aborted.resolve((signal.reason as KmsError).code);
            reject(new RpcError(1, 'aborted'));
          });
        });
      },
    };
    this.#transport = factory(new Map(Object.entries(routes)));
  }

  async listen(): Promise<this> {
    const onConnection = this.#transport.accept.bind(this.#transport);
    this.#listener = await SocketListener.listen({ path: this.socket, mode: 0o600, takeOver: false, onConnection });
    return this;
  }

  /** When the handler of this request has begun. */
  begun(request: Buffer): Promise<void> {
    return this.#find(request).begun.promise;
  }

  /** Why the call of this request was aborted: a code. */
  aborted(request: Buffer): Promise<string> {
    return this.#find(request).aborted.promise;
  }

  async close(): Promise<void> {
    await this.#listener?.close();
    await this.#transport.drain(100);
  }

  #find(request: Buffer): Hanging {
    const key = request.toString('hex');
    const found = this.#hanging.get(key) ?? { begun: Promise.withResolvers(), aborted: Promise.withResolvers() };
    this.#hanging.set(key, found);
    return found;
  }
}
