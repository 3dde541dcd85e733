import type { Socket } from 'node:net';

/** Holds the answers of one read event, so that they leave in one write. Messages above a quarter of it are rare. */
const SLAB_BYTES = 64 * 1024;

/**
 * Output of whichever connection is being served: one for the process, since a turn serves one connection at a time. A socket
 * usually takes a write at once; then the slab is wiped and used again without a copy.
 */
export class Slab {
  buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  at = 0;
  /** The socket whose output this is. */
  #owner: Socket | undefined;

  /** Makes room for `bytes`, if need be by sending what is there. */
  reserve(bytes: number, socket: Socket): void {
    // A handler that makes another connection write must not send it this one's bytes.
    if (this.#owner && this.#owner !== socket) this.flush(this.#owner);
    this.#owner = socket;
    if (this.buffer.length - this.at >= bytes) return;
    this.flush(socket);
    if (this.buffer.length < bytes) this.buffer = Buffer.allocUnsafeSlow(bytes);
  }

  /** Sends what is there, and wipes it once the kernel has it. */
  flush(socket: Socket): void {
    const { buffer, at } = this;
    if (at === 0 || this.#owner !== socket) return;
    this.at = 0;
    if (socket.destroyed || socket.writableEnded) {
      buffer.fill(0, 0, at);
      return;
    }
    if (socket.writableLength > 0) {
      // The client is slow. What waits for it takes no more than its own bytes: a slab for each write would be a thousand times that.
      const waiting = Buffer.allocUnsafeSlow(at);
      buffer.copy(waiting, 0, 0, at);
      buffer.fill(0, 0, at);
      socket.write(waiting, () => waiting.fill(0));
      return;
    }
    let taken = false;
    socket.write(buffer.subarray(0, at), () => {
      if (!taken) buffer.fill(0, 0, at);
    });
    // Nothing waits in the socket: the kernel has all of it, and the slab is free before the callback comes.
    taken = socket.writableLength === 0;
    if (taken) buffer.fill(0, 0, at);
    if (!taken || buffer.length > SLAB_BYTES) this.buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  }
}
