import type { Calls } from './calls.ts';
import { readSettings, Setting } from './client-settings.ts';
import type { Credits } from './credits.ts';
import { ConnectionError } from './errors.ts';
import { Flag, FrameType } from './frames.ts';
import type { Frame, FrameReceiver } from './frames.ts';
import { HeaderBlock } from './header-block.ts';
import { HeaderDecoder } from './hpack.ts';
import { CALLS_PER_TURN, CONNECTION_WINDOW, MAX_DATA_FRAMES, MAX_EARLY_CLOSED, STREAM_WINDOW } from './limits.ts';
import type { Output } from './output.ts';
import { RequestHead } from './request-head.ts';

const protocolError = (text: string): ConnectionError => new ConnectionError('PROTOCOL_ERROR', text);
const frameSizeError = (text: string): ConnectionError => new ConnectionError('FRAME_SIZE_ERROR', text);

/** Payload of the PING that marks our GOAWAY: its ACK shows that the client has read that (grpc-go does the same). */
export const DRAIN_PING = Buffer.from('teapot-!');

export interface SessionOptions {
  readonly calls: Calls;
  readonly output: Output;
  readonly credits: Credits;
}

/** The rules of RFC 9113 for what a client sends, frame by frame. */
export class Session implements FrameReceiver {
  readonly #calls: Calls;
  readonly #output: Output;
  readonly #credits: Credits;
  readonly #decoder = new HeaderDecoder();
  readonly #head = new RequestHead();
  readonly #block = new HeaderBlock();
  /** Streams that we closed before the client did: its frames for them are no error. */
  readonly #earlyClosed = new Set<number>();
  #receiveWindow = CONNECTION_WINDOW;
  /** The first id that the client has skipped. Of ids from there on nobody knows whether they were used. */
  #firstGap = Infinity;
  #lastId = 0;
  /** Monotonic ms of the read event at hand. */
  now = 0;
  /** The client's SETTINGS have come, as its first frame. */
  greeted = false;
  /** The client has sent GOAWAY: the connection closes when nothing is pending. */
  leaving = false;
  /** The client has acknowledged {@link DRAIN_PING}. */
  drainAcknowledged = false;
  /** The id of our final GOAWAY: later streams are not processed, and the client sends them elsewhere. */
  finalId = Infinity;

  constructor({ calls, output, credits }: SessionOptions) {
    this.#calls = calls;
    this.#output = output;
    this.#credits = credits;
  }

  get paused(): boolean {
    return this.#calls.servedInTurn >= CALLS_PER_TURN;
  }

  /** The newest stream of the client. */
  get lastId(): number {
    return this.#lastId;
  }

  onFrame(frame: Frame): void {
    const { type, flags } = frame;
    if (!this.greeted && (type !== FrameType.SETTINGS || (flags & Flag.ACK) !== 0))
      throw protocolError('the first frame is not SETTINGS');
    if (this.#block.pendingId !== 0 && type !== FrameType.CONTINUATION)
      throw protocolError('another frame within a header block');
    switch (type) {
      case FrameType.DATA:
        return this.#onData(frame);
      case FrameType.HEADERS:
        return this.#onHeaders(frame);
      case FrameType.PRIORITY:
        return this.#onPriority(frame);
      case FrameType.RST_STREAM:
        return this.#onReset(frame);
      case FrameType.SETTINGS:
        return this.#onSettings(frame);
      case FrameType.PUSH_PROMISE:
        throw protocolError('a client that pushes');
      case FrameType.PING:
        return this.#onPing(frame);
      case FrameType.GOAWAY:
        return this.#onGoAway(frame);
      case FrameType.WINDOW_UPDATE:
        return this.#onWindowUpdate(frame);
      case FrameType.CONTINUATION:
        return this.#onContinuation(frame);
      default:
        // RFC 9113 §4.1: unknown types are ignored.
        this.#credits.spend();
    }
  }

  /** A stream is closed on our side while the client's is open. */
  closeEarly(id: number): void {
    this.#earlyClosed.add(id);
    if (this.#earlyClosed.size > MAX_EARLY_CLOSED) this.#earlyClosed.delete(this.#earlyClosed.values().next().value!);
  }

  #onData({ id, flags, bytes, start, end }: Frame): void {
    if (id === 0) throw protocolError('DATA on stream 0');
    const length = end - start;
    this.#receive(length);
    const [from, to] = flags & Flag.PADDED ? withoutPadding(bytes, start, end) : [start, end];
    const endsStream = (flags & Flag.END_STREAM) !== 0;
    const stream = this.#calls.find(id);
    if (length === 0 && !endsStream) this.#credits.spend();
    if (!stream || stream.requestEnded) return this.#ignoreIfEarlyClosed(id, endsStream, 'DATA');
    stream.received += to - from;
    if (++stream.dataFrames > MAX_DATA_FRAMES) throw new ConnectionError('ENHANCE_YOUR_CALM', 'too many DATA frames');
    if (stream.received > STREAM_WINDOW)
      throw new ConnectionError('FLOW_CONTROL_ERROR', 'the stream window is overrun');
    this.#calls.data(stream, bytes, from, to, endsStream, this.now);
  }

  #onHeaders(frame: Frame): void {
    const { id, flags, bytes } = frame;
    let { start, end } = frame;
    if (id === 0 || id % 2 === 0) throw protocolError('HEADERS on a stream that a client cannot open');
    if (flags & Flag.PADDED) [start, end] = withoutPadding(bytes, start, end);
    if (flags & Flag.PRIORITY) {
      if (end - start < 5) throw frameSizeError('HEADERS that are too short');
      checkDependency(id, bytes, start);
      start += 5;
    }
    const endsStream = (flags & Flag.END_STREAM) !== 0;
    if (flags & Flag.END_HEADERS) this.#onHeaderBlock(id, endsStream, bytes, start, end);
    else this.#block.begin(id, endsStream, bytes, start, end);
  }

  #onContinuation({ id, flags, bytes, start, end }: Frame): void {
    if (id === 0 || id !== this.#block.pendingId) throw protocolError('an unexpected CONTINUATION');
    this.#block.add(bytes, start, end);
    if ((flags & Flag.END_HEADERS) === 0) return;
    const { endsStream } = this.#block;
    const block = this.#block.finish();
    this.#onHeaderBlock(id, endsStream, block, 0, block.length);
  }

  #onHeaderBlock(id: number, endsStream: boolean, bytes: Buffer, start: number, end: number): void {
    // Always whole, also where the stream is ignored: the table belongs to the connection.
    this.#decoder.decode(bytes, start, end, this.#head);
    if (id > this.#lastId) {
      if (id > this.#lastId + 2 && this.#firstGap === Infinity) this.#firstGap = this.#lastId + 2;
      this.#lastId = id;
      if (id > this.finalId) return this.#leave(id, endsStream);
      if (this.#head.isMalformedRequest) throw protocolError('malformed request header fields');
      return this.#calls.begin(id, this.#head, endsStream, this.now);
    }
    const stream = this.#calls.find(id);
    if (!stream || stream.requestEnded) return this.#ignoreIfEarlyClosed(id, endsStream, 'HEADERS');
    if (!endsStream) throw protocolError('trailers that do not end the stream');
    if (this.#head.isMalformedTrailer) throw protocolError('malformed trailers');
    this.#calls.end(stream, this.now);
  }

  #onPriority({ id, bytes, start, end }: Frame): void {
    if (id === 0) throw protocolError('PRIORITY on stream 0');
    if (end - start !== 5) throw frameSizeError('PRIORITY of a wrong length');
    checkDependency(id, bytes, start);
    this.#credits.spend();
  }

  #onReset({ id, start, end }: Frame): void {
    if (end - start !== 4) throw frameSizeError('RST_STREAM of a wrong length');
    this.#checkNotIdle(id, 'RST_STREAM');
    this.#earlyClosed.delete(id);
    const stream = this.#calls.find(id);
    if (!stream?.requestEnded) this.#credits.spend();
    if (!stream) return;
    this.#calls.cancel(stream);
  }

  #onSettings({ id, flags, bytes, start, end }: Frame): void {
    if (id !== 0) throw protocolError('SETTINGS on a stream');
    if (flags & Flag.ACK) {
      if (end > start) throw frameSizeError('a SETTINGS ACK with a payload');
      this.#credits.spend();
      return;
    }
    if (this.greeted) this.#credits.spend();
    this.greeted = true;
    readSettings(bytes, start, end, (setting, value) => {
      if (setting === Setting.HEADER_TABLE_SIZE) this.#output.blocks.clientTableSize(value);
      else if (setting === Setting.INITIAL_WINDOW_SIZE) this.#output.setInitialWindow(value, this.#calls.streams);
    });
    this.#output.frame(FrameType.SETTINGS, Flag.ACK, 0, Buffer.alloc(0));
    this.#output.drain();
  }

  #onPing({ id, flags, bytes, start, end }: Frame): void {
    if (id !== 0) throw protocolError('PING on a stream');
    if (end - start !== 8) throw frameSizeError('PING of a wrong length');
    this.#credits.spend();
    const payload = bytes.subarray(start, end);
    if ((flags & Flag.ACK) === 0) this.#output.frame(FrameType.PING, Flag.ACK, 0, payload);
    else if (payload.equals(DRAIN_PING)) this.drainAcknowledged = true;
  }

  #onGoAway({ id, start, end }: Frame): void {
    if (id !== 0) throw protocolError('GOAWAY on a stream');
    if (end - start < 8) throw frameSizeError('GOAWAY that is too short');
    this.#credits.spend();
    this.leaving = true;
  }

  #onWindowUpdate({ id, bytes, start, end }: Frame): void {
    if (end - start !== 4) throw frameSizeError('WINDOW_UPDATE of a wrong length');
    const increment = bytes.readUInt32BE(start) & 0x7fffffff;
    if (id !== 0) this.#checkNotIdle(id, 'WINDOW_UPDATE');
    if (increment === 0) throw protocolError('WINDOW_UPDATE of 0');
    this.#credits.spend();
    if (id === 0) return this.#output.grant(increment);
    const stream = this.#calls.find(id);
    if (stream) this.#output.grantStream(stream, increment);
  }

  /** Counts DATA, and gives the credit back when half of the window is used: on receipt, since messages are bounded elsewhere. */
  #receive(length: number): void {
    this.#receiveWindow -= length;
    if (this.#receiveWindow < 0) throw new ConnectionError('FLOW_CONTROL_ERROR', 'the connection window is overrun');
    if (this.#receiveWindow > CONNECTION_WINDOW / 2) return;
    this.#output.number(FrameType.WINDOW_UPDATE, 0, CONNECTION_WINDOW - this.#receiveWindow);
    this.#receiveWindow = CONNECTION_WINDOW;
  }

  /** A stream that came after our final GOAWAY: the client knows by now, or soon, that it was not processed. */
  #leave(id: number, endsStream: boolean): void {
    if (!endsStream) this.closeEarly(id);
  }

  #ignoreIfEarlyClosed(id: number, endsStream: boolean, frame: string): void {
    if (this.#earlyClosed.has(id)) {
      if (endsStream) this.#earlyClosed.delete(id);
      return;
    }
    this.#checkNotIdle(id, frame);
    if (id >= this.#firstGap) throw protocolError(`${frame} on a closed or unused stream`);
    throw new ConnectionError('STREAM_CLOSED', `${frame} on a closed stream`);
  }

  #checkNotIdle(id: number, frame: string): void {
    if (id === 0 || id % 2 === 0 || id > this.#lastId) throw protocolError(`${frame} on an idle stream`);
  }
}

/** Where the content of a padded payload begins and ends (RFC 9113 §6.1). */
function withoutPadding(bytes: Buffer, start: number, end: number): [number, number] {
  const padding = start < end ? bytes[start]! : 0;
  if (start === end || padding >= end - start) throw protocolError('padding that is longer than its frame');
  return [start + 1, end - padding];
}

/** RFC 7540 §5.3.1: a stream cannot depend on itself. */
function checkDependency(id: number, bytes: Buffer, start: number): void {
  if ((bytes.readUInt32BE(start) & 0x7fffffff) === id) throw protocolError('a stream that depends on itself');
}
