import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';

/** A socket without a kernel: what is written is kept, and a test decides when it has left. */
export class FakeSocket extends EventEmitter {
  destroyed = false;
  writableEnded = false;
  paused = false;
  /** While true, writes wait, as for a client that does not read. */
  stuck = false;
  #output: Buffer[] = [];
  #waiting: { bytes: Buffer; done: (() => void) | undefined }[] = [];

  get writableLength(): number {
    return this.#waiting.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  write(bytes: Buffer, done?: () => void): boolean {
    if (this.stuck) {
      this.#waiting.push({ bytes, done });
      return false;
    }
    this.#output.push(Buffer.from(bytes));
    if (done) process.nextTick(done);
    return true;
  }

  /** The client reads again. */
  unstick(): void {
    this.stuck = false;
    for (const { bytes, done } of this.#waiting.splice(0)) this.write(bytes, done);
    this.emit('drain');
  }

  /** What has left since the last call. */
  take(): Buffer {
    return Buffer.concat(this.#output.splice(0));
  }

  /** Bytes arrive. The transport wipes what it is given, so it gets a copy. */
  receive(bytes: Buffer): void {
    if (!this.destroyed) this.emit('data', Buffer.from(bytes));
  }

  end(): void {
    this.writableEnded = true;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit('close');
  }

  asSocket(): Socket {
    return this as unknown as Socket;
  }
}
