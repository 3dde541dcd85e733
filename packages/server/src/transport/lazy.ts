import type { Socket } from 'node:net';
import type { Transport } from './seam.ts';

/** A transport whose code is loaded when an instance uses it. Connections wait for it. */
export class LazyTransport implements Transport {
  readonly #loading: Promise<Transport>;

  constructor(loading: Promise<Transport>) {
    this.#loading = loading;
  }

  accept(socket: Socket): void {
    // Without a listener, a connection that is reset before the transport has it would end the process.
    socket.on('error', () => socket.destroy());
    void this.#loading.then((transport) => {
      if (!socket.destroyed) transport.accept(socket);
    });
  }

  async drain(graceMs: number): Promise<void> {
    await (await this.#loading).drain(graceMs);
  }
}
