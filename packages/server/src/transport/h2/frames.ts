import { ConnectionError } from './errors.ts';
import { MAX_FRAME_BYTES } from './limits.ts';

/** Frame types (RFC 9113 §6). */
export const FrameType = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const Flag = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 0x20 } as const;

export const FRAME_HEADER_BYTES = 9;

/** One frame. The reader reuses the object, and the bytes are wiped after the read: a receiver copies what it keeps. */
export interface Frame {
  type: number;
  flags: number;
  /** Stream id; the reserved bit is cleared. */
  id: number;
  /** The payload is `bytes[start..end)`. */
  bytes: Buffer;
  start: number;
  end: number;
}

export interface FrameReceiver {
  /** @throws {@link ConnectionError} */
  onFrame(frame: Frame): void;
  /** Whether the reader should stop before the next frame. */
  readonly paused: boolean;
}

/** Cuts chunks of a connection into frames, without copying any but those that lie across two chunks. */
export class FrameReader {
  readonly #frame: Frame = { type: 0, flags: 0, id: 0, bytes: Buffer.alloc(0), start: 0, end: 0 };
  /** A frame of which a part has arrived. */
  #partial: Buffer | undefined;
  #have = 0;

  /**
   * Reads `chunk` from `at` on.
   * @returns where it stopped: the chunk's length, or less where the receiver has paused
   * @throws {@link ConnectionError} `FRAME_SIZE_ERROR`, and what the receiver throws
   */
  read(chunk: Buffer, at: number, receiver: FrameReceiver): number {
    while (at < chunk.length && !receiver.paused) {
      if (this.#have > 0) {
        at = this.#complete(chunk, at, receiver);
        continue;
      }
      const left = chunk.length - at;
      const size = left < FRAME_HEADER_BYTES ? Infinity : frameSize(chunk, at);
      if (size > left) return this.#keep(chunk, at, chunk.length);
      this.#emit(chunk, at, size, receiver);
      at += size;
    }
    return at;
  }

  /** Wipes what has arrived of a frame. */
  destroy(): void {
    this.#partial?.fill(0);
    this.#have = 0;
  }

  #complete(chunk: Buffer, at: number, receiver: FrameReceiver): number {
    if (this.#have < FRAME_HEADER_BYTES) {
      at = this.#keep(chunk, at, Math.min(chunk.length, at + FRAME_HEADER_BYTES - this.#have));
      if (this.#have < FRAME_HEADER_BYTES) return at;
    }
    const partial = this.#partial!;
    const size = frameSize(partial, 0);
    at = this.#keep(chunk, at, Math.min(chunk.length, at + size - this.#have));
    if (this.#have < size) return at;
    this.#have = 0;
    this.#emit(partial, 0, size, receiver);
    partial.fill(0, 0, size);
    return at;
  }

  /** Takes over a part of a frame. */
  #keep(chunk: Buffer, from: number, to: number): number {
    this.#partial ??= Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES + MAX_FRAME_BYTES);
    chunk.copy(this.#partial, this.#have, from, to);
    this.#have += to - from;
    return to;
  }

  #emit(bytes: Buffer, at: number, size: number, receiver: FrameReceiver): void {
    const frame = this.#frame;
    frame.type = bytes[at + 3]!;
    frame.flags = bytes[at + 4]!;
    frame.id = bytes.readUInt32BE(at + 5) & 0x7fffffff;
    frame.bytes = bytes;
    frame.start = at + FRAME_HEADER_BYTES;
    frame.end = at + size;
    receiver.onFrame(frame);
  }
}

/** Bytes of the frame that begins at `at`, its header included. */
function frameSize(bytes: Buffer, at: number): number {
  const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
  if (length > MAX_FRAME_BYTES) throw new ConnectionError('FRAME_SIZE_ERROR', 'a frame is longer than 16,384 bytes');
  return FRAME_HEADER_BYTES + length;
}

/** Writes a frame header; returns where the payload goes. */
export function writeFrameHeader(
  out: Buffer,
  at: number,
  length: number,
  type: number,
  flags: number,
  id: number,
): number {
  out[at] = length >>> 16;
  out[at + 1] = length >>> 8;
  out[at + 2] = length;
  out[at + 3] = type;
  out[at + 4] = flags;
  out.writeUInt32BE(id, at + 5);
  return at + FRAME_HEADER_BYTES;
}
