import type { Socket } from 'node:net';
import { bytesOf, GrpcStatus } from '../seam.ts';
import type { Answer } from '../seam.ts';
import type { ByteAccount } from './byte-budget.ts';
import { DEFAULT_WINDOW, MAX_WINDOW } from './client-settings.ts';
import { ConnectionError, ErrorCode } from './errors.ts';
import type { ErrorCodeName } from './errors.ts';
import { Flag, FRAME_HEADER_BYTES, FrameType, writeFrameHeader } from './frames.ts';
import { MAX_CONNECTION_BYTES, MAX_FRAME_BYTES, MAX_UNSENT_BYTES, PREFIX_BYTES } from './limits.ts';
import { errorBlock, MAX_OK_BLOCK_BYTES, ResponseBlocks } from './response-blocks.ts';
import type { Slab } from './slab.ts';
import type { Stream } from './stream.ts';

/** Bytes around the message of an answer that leaves in one DATA frame. */
const AROUND_BYTES = 3 * FRAME_HEADER_BYTES + 2 * MAX_OK_BLOCK_BYTES + PREFIX_BYTES;

const QUEUE_FULL = errorBlock(
  GrpcStatus.RESOURCE_EXHAUSTED,
  'too many bytes of answers wait for the flow control windows of this connection',
);

/** An answer that waits for the client's windows, or has left in part. */
interface Queued {
  readonly stream: Stream;
  readonly body: Buffer;
  /** Bytes of the gRPC prefix before the body: 5, or 0 for a plain HTTP answer. */
  readonly prefix: number;
  /** Bytes of prefix and body that have left. */
  sent: number;
  /** The header block of a plain HTTP answer, which has no trailers. */
  readonly httpBlock?: Buffer;
}

/**
 * Writes the frames of one connection, within the client's flow control windows (RFC 9113 §5.2). An answer that does not fit,
 * or that the client does not take, waits in a queue; header blocks stay in the order in which they were encoded.
 */
export class Output {
  readonly blocks = new ResponseBlocks();
  readonly #socket: Socket;
  readonly #slab: Slab;
  readonly #onAnswered: (stream: Stream) => void;
  readonly #queue = new Map<Stream, Queued>();
  readonly #account: ByteAccount;
  #window = DEFAULT_WINDOW;
  #initialWindow = DEFAULT_WINDOW;

  /** @param onAnswered - called when the last byte of an answer was written */
  constructor(socket: Socket, slab: Slab, account: ByteAccount, onAnswered: (stream: Stream) => void) {
    this.#socket = socket;
    this.#account = account;
    this.#slab = slab;
    this.#onAnswered = onAnswered;
  }

  /** The client takes none of its output: no answer is added to what the socket holds, and nothing more is read. */
  get isStuck(): boolean {
    return this.#socket.writableLength > MAX_UNSENT_BYTES;
  }

  flush(): void {
    this.#slab.flush(this.#socket);
  }

  frame(type: number, flags: number, id: number, payload: Buffer): void {
    const at = this.#header(payload.length, type, flags, id);
    this.#slab.at = at + payload.copy(this.#slab.buffer, at);
  }

  number(type: number, id: number, value: number): void {
    const at = this.#header(4, type, 0, id);
    this.#slab.buffer.writeUInt32BE(value, at);
    this.#slab.at = at + 4;
  }

  reset(id: number, code: ErrorCodeName): void {
    this.number(FrameType.RST_STREAM, id, ErrorCode[code]);
  }

  goAway(lastId: number, code: ErrorCodeName, debug: string): void {
    const payload = Buffer.alloc(8 + Buffer.byteLength(debug));
    payload.writeUInt32BE(lastId, 0);
    payload.writeUInt32BE(ErrorCode[code], 4);
    payload.write(debug, 8);
    this.frame(FrameType.GOAWAY, 0, 0, payload);
  }

  /** Answers with a message and status OK. The message is wiped when it has left. */
  answer(stream: Stream, message: Answer): void {
    const length = PREFIX_BYTES + message.length;
    const fits =
      !this.isStuck &&
      length <= MAX_FRAME_BYTES &&
      length <= this.#window &&
      length <= this.#initialWindow + stream.sendDelta;
    if (!fits || this.#queue.size > 0) {
      this.#enqueue({ stream, body: bytesOf(message), prefix: PREFIX_BYTES, sent: 0 });
      return;
    }
    this.#slab.reserve(AROUND_BYTES + message.length, this.#socket);
    this.#writeHeaders(stream.id);
    this.#writeWhole(stream, message);
    message.fill(0);
    this.#writeTrailers(stream.id);
    this.#onAnswered(stream);
  }

  /** Answers with a header block alone. It is not flow-controlled, so it never waits. */
  trailersOnly(stream: Stream, block: Buffer): void {
    this.frame(FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, stream.id, this.blocks.plain(block));
    this.#onAnswered(stream);
  }

  /** Answers a request that is not gRPC. */
  http(stream: Stream, httpBlock: Buffer, text: string): void {
    this.#enqueue({ stream, body: Buffer.from(text), prefix: 0, sent: 0, httpBlock });
  }

  /** Forgets what is left of a stream's answer. Returns whether there was any: then its header block may have left. */
  drop(stream: Stream): boolean {
    const queued = this.#queue.get(stream);
    if (queued) this.#remove(queued);
    return queued !== undefined;
  }

  destroy(): void {
    for (const queued of this.#queue.values()) this.#remove(queued);
  }

  /** WINDOW_UPDATE of the connection. @throws {@link ConnectionError} `FLOW_CONTROL_ERROR` */
  grant(increment: number): void {
    this.#window += increment;
    if (this.#window > MAX_WINDOW) throw new ConnectionError('FLOW_CONTROL_ERROR', 'the connection window overflows');
    this.drain();
  }

  /** WINDOW_UPDATE of a stream. @throws {@link ConnectionError} `FLOW_CONTROL_ERROR` */
  grantStream(stream: Stream, increment: number): void {
    stream.sendDelta += increment;
    if (this.#initialWindow + stream.sendDelta > MAX_WINDOW)
      throw new ConnectionError('FLOW_CONTROL_ERROR', 'the stream window overflows');
    this.drain();
  }

  /**
   * SETTINGS_INITIAL_WINDOW_SIZE: open streams follow, and their windows may become negative (RFC 9113 §6.9.2).
   * @throws {@link ConnectionError} `FLOW_CONTROL_ERROR`
   */
  setInitialWindow(value: number, streams: Iterable<Stream>): void {
    this.#initialWindow = value;
    for (const { sendDelta } of streams) {
      if (value + sendDelta > MAX_WINDOW)
        throw new ConnectionError('FLOW_CONTROL_ERROR', 'a stream window overflows by SETTINGS');
    }
  }

  /** Sends what the windows and the socket allow of the answers that wait. */
  drain(): void {
    for (const queued of this.#queue.values()) {
      if (this.#window <= 0 || this.isStuck) return;
      this.#send(queued);
    }
  }

  #enqueue(queued: Queued): void {
    if (this.#account.bytes + queued.body.length > MAX_CONNECTION_BYTES) {
      queued.body.fill(0);
      return this.trailersOnly(queued.stream, QUEUE_FULL);
    }
    this.#queue.set(queued.stream, queued);
    this.#account.hold(queued.body.length);
    this.drain();
  }

  #remove(queued: Queued): void {
    this.#queue.delete(queued.stream);
    this.#account.hold(-queued.body.length);
    queued.body.fill(0);
  }

  #send(queued: Queued): void {
    const { stream, body, prefix, httpBlock } = queued;
    const total = prefix + body.length;
    while (queued.sent < total) {
      const room = Math.min(this.#window, this.#initialWindow + stream.sendDelta, MAX_FRAME_BYTES);
      if (room <= 0) return;
      const length = Math.min(room, total - queued.sent);
      this.#slab.reserve(AROUND_BYTES + length, this.#socket);
      if (queued.sent === 0) {
        if (httpBlock) this.frame(FrameType.HEADERS, Flag.END_HEADERS, stream.id, this.blocks.plain(httpBlock));
        else this.#writeHeaders(stream.id);
      }
      const last = queued.sent + length === total;
      this.#writeData(stream, body, prefix, queued.sent, length, last && httpBlock ? Flag.END_STREAM : 0);
      queued.sent += length;
    }
    if (!httpBlock) this.#writeTrailers(stream.id);
    this.#remove(queued);
    this.#onAnswered(stream);
  }

  #header(length: number, type: number, flags: number, id: number): number {
    this.#slab.reserve(FRAME_HEADER_BYTES + length, this.#socket);
    return writeFrameHeader(this.#slab.buffer, this.#slab.at, length, type, flags, id);
  }

  #writeHeaders(id: number): void {
    const { buffer, at } = this.#slab;
    const end = this.blocks.writeHeaders(buffer, at + FRAME_HEADER_BYTES);
    writeFrameHeader(buffer, at, end - at - FRAME_HEADER_BYTES, FrameType.HEADERS, Flag.END_HEADERS, id);
    this.#slab.at = end;
  }

  #writeTrailers(id: number): void {
    this.#slab.reserve(FRAME_HEADER_BYTES + MAX_OK_BLOCK_BYTES, this.#socket);
    const { buffer, at } = this.#slab;
    const end = this.blocks.writeTrailers(buffer, at + FRAME_HEADER_BYTES);
    const flags = Flag.END_HEADERS | Flag.END_STREAM;
    writeFrameHeader(buffer, at, end - at - FRAME_HEADER_BYTES, FrameType.HEADERS, flags, id);
    this.#slab.at = end;
  }

  /** One DATA frame with a whole message. */
  #writeWhole(stream: Stream, message: Answer): void {
    const { buffer } = this.#slab;
    const length = PREFIX_BYTES + message.length;
    const at = writeFrameHeader(buffer, this.#slab.at, length, FrameType.DATA, 0, stream.id);
    buffer[at] = 0;
    buffer.writeUInt32BE(message.length, at + 1);
    message.copy(buffer, at + PREFIX_BYTES);
    this.#sent(stream, at, length);
  }

  /** One DATA frame with `length` bytes, from `from` on, of prefix and body. */
  #writeData(stream: Stream, body: Buffer, prefix: number, from: number, length: number, flags: number): void {
    const { buffer } = this.#slab;
    let at = writeFrameHeader(buffer, this.#slab.at, length, FrameType.DATA, flags, stream.id);
    const end = at + length;
    for (let index = from; index < prefix && at < end; index++) {
      buffer[at++] = index === 0 ? 0 : (body.length >>> (8 * (PREFIX_BYTES - 1 - index))) & 0xff;
    }
    if (from + length > prefix) body.copy(buffer, at, Math.max(0, from - prefix), from + length - prefix);
    this.#sent(stream, end - length, length);
  }

  #sent(stream: Stream, at: number, length: number): void {
    this.#slab.at = at + length;
    this.#window -= length;
    stream.sendDelta -= length;
  }
}
