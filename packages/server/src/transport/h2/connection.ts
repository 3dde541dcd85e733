import type { Socket } from 'node:net';
import type { Routes } from '../seam.ts';
import { ByteAccount } from './byte-budget.ts';
import type { ByteBudget } from './byte-budget.ts';
import { Calls } from './calls.ts';
import { DEFAULT_WINDOW, Setting } from './client-settings.ts';
import { Credits } from './credits.ts';
import { ConnectionError } from './errors.ts';
import type { ErrorCodeName } from './errors.ts';
import { FrameReader, FrameType } from './frames.ts';
import {
  ANNOUNCED_HEADER_LIST_BYTES,
  CONNECTION_WINDOW,
  LINGER_MS,
  PREFACE_TIMEOUT_MS,
  SILENT_LINGER_MS,
  STREAM_WINDOW,
  UNSENT_TIMEOUT_MS,
} from './limits.ts';
import { Output } from './output.ts';
import { DRAIN_PING, Session } from './session.ts';
import type { Share } from './share.ts';
import type { Slab } from './slab.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const MAX_STREAM_ID = 2 ** 31 - 1;

export interface ConnectionOptions {
  readonly socket: Socket;
  readonly routes: Routes;
  /** Calls that may run or be open at a time. A handler holds its place until it settles. */
  readonly maxStreams: number;
  readonly slab: Slab;
  readonly budget: ByteBudget;
  /** Monotonic ms. */
  readonly now: () => number;
  /** What all connections of the socket may use of a turn. {@link Connection.resume} goes on in the next one. */
  readonly share: Share<Connection>;
  /** Called once, when the socket has closed. */
  readonly onClosed: (error: ErrorCodeName | undefined) => void;
}

/** One client's connection: the socket's events, its share of each turn, and its end. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  readonly #credits: Credits;
  readonly #account: ByteAccount;
  readonly #output: Output;
  readonly #calls: Calls;
  readonly #session: Session;
  #prefaceRead = 0;
  /** The rest of a chunk that waits for the next turn. */
  #rest: { readonly chunk: Buffer; at: number } | undefined;
  #error: ErrorCodeName | undefined;
  #acting = false;
  /** Bytes of {@link Socket.writableLength} that the account has. */
  #unsent = 0;
  /** Monotonic ms at which the socket is cut: while the preface has not come, and once the connection is closing. */
  #endsAt: number;
  /** Monotonic ms until which the client must read some of its output. */
  #stuckUntil: number | undefined;
  #state: 'open' | 'draining' | 'closing' = 'open';
  /** Monotonic ms at which a drain goes on without the client's acknowledgement. */
  #drainBy = Infinity;

  constructor(options: ConnectionOptions) {
    const { socket, routes, maxStreams, slab, budget, now } = options;
    this.#options = options;
    this.#socket = socket;
    this.#credits = new Credits(now());
    this.#endsAt = now() + PREFACE_TIMEOUT_MS;
    this.#account = new ByteAccount(budget, () => this.#endAsLargest());
    this.#output = new Output(socket, slab, this.#account, (stream) => this.#calls.answered(stream));
    this.#calls = new Calls({
      routes,
      maxStreams,
      output: this.#output,
      credits: this.#credits,
      account: this.#account,
      connection: this,
      onReady: () => process.nextTick(() => this.#act(() => this.#calls.writeReady())),
      onEarlyClose: (id) => this.#session.closeEarly(id),
    });
    this.#session = new Session({ calls: this.#calls, output: this.#output, credits: this.#credits });
    // First of all: without a listener a reset connection would end the process.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#onClose());
    socket.on('end', () => socket.destroy());
    socket.on('drain', () => this.#onDrain());
    socket.on('data', (chunk: Buffer) => this.#onData(chunk, 0));
    const settings = settingsPayload([
      [Setting.MAX_CONCURRENT_STREAMS, maxStreams],
      [Setting.INITIAL_WINDOW_SIZE, STREAM_WINDOW],
      [Setting.MAX_HEADER_LIST_SIZE, ANNOUNCED_HEADER_LIST_BYTES],
    ]);
    this.#output.frame(FrameType.SETTINGS, 0, 0, settings);
    this.#output.number(FrameType.WINDOW_UPDATE, 0, CONNECTION_WINDOW - DEFAULT_WINDOW);
    this.#output.flush();
  }

  /** Calls that are not answered, and handlers that have not settled. */
  get pending(): number {
    return this.#calls.pending;
  }

  /** The next turn: goes on with what was read. */
  resume(): void {
    this.#calls.servedInTurn = 0;
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest) this.#onData(rest.chunk, rest.at);
    this.#continueReading();
  }

  /** Looks at what may take too long. */
  tick(now: number): void {
    this.#act(() => this.#calls.expire(now));
    if (this.#state === 'closing' || !this.#session.greeted) {
      if (now >= this.#endsAt) this.#socket.destroy();
    } else if (this.#output.isStuck) {
      this.#stuckUntil ??= now + UNSENT_TIMEOUT_MS;
      if (now >= this.#stuckUntil) this.#socket.destroy();
    } else this.#stuckUntil = undefined;
    if (this.#state === 'draining' && this.#session.finalId === Infinity && now >= this.#drainBy) this.#finalGoAway();
    this.#closeIfDone();
  }

  /** Tells the client to go elsewhere; calls that have come by then are answered. */
  drain(now: number): void {
    if (this.#state !== 'open') return;
    if (!this.#session.greeted) {
      this.#act(() => this.#output.goAway(0, 'NO_ERROR', 'shutting down'));
      return this.#close(SILENT_LINGER_MS);
    }
    this.#state = 'draining';
    this.#drainBy = now + LINGER_MS;
    this.#act(() => {
      // Two steps, so that no call on its way is lost: its client sees that it was not processed only after the second.
      this.#output.goAway(MAX_STREAM_ID, 'NO_ERROR', 'shutting down');
      this.#output.frame(FrameType.PING, 0, 0, DRAIN_PING);
    });
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #onData(chunk: Buffer, from: number): void {
    if (this.#state === 'closing') {
      chunk.fill(0);
      return;
    }
    if (this.#rest) {
      // The socket is paused, so this is the one chunk that it had read by then.
      const { chunk: before, at } = this.#rest;
      this.#rest = { chunk: Buffer.concat([before.subarray(at), chunk]), at: 0 };
      before.fill(0);
      chunk.fill(0);
      return;
    }
    const { share, now } = this.#options;
    if (share.isUsed) {
      this.#rest = { chunk, at: from };
      this.#socket.pause();
      return share.wait(this);
    }
    const started = now();
    this.#act(() => {
      this.#session.now = started;
      this.#credits.refill(started);
      let at = from;
      if (this.#prefaceRead < PREFACE.length) at = this.#readPreface(chunk, at);
      at = this.#reader.read(chunk, at, this.#session);
      if (at < chunk.length) this.#rest = { chunk, at };
    });
    // Every message was copied, so nothing refers to a chunk that was read.
    if (!this.#waits(chunk)) chunk.fill(0);
    if (this.#session.paused || this.#output.isStuck) this.#socket.pause();
    share.count(started);
    if (this.#session.paused) share.wait(this);
    if (this.#session.drainAcknowledged && this.#session.finalId === Infinity) this.#finalGoAway();
    this.#closeIfDone();
  }

  /** The client has taken all that the socket held. */
  #onDrain(): void {
    this.#stuckUntil = undefined;
    this.#act(() => this.#output.drain());
    this.#continueReading();
  }

  #countUnsent(): void {
    const unsent = this.#socket.writableLength;
    const more = unsent - this.#unsent;
    this.#unsent = unsent;
    this.#account.hold(more);
  }

  #waits(chunk: Buffer): boolean {
    return this.#rest?.chunk === chunk;
  }

  #continueReading(): void {
    if (!this.#rest && !this.#output.isStuck) this.#socket.resume();
  }

  /** Does `work`, sends what it has written, and ends the connection where it has failed. */
  #act(work: () => void): void {
    if (this.#socket.destroyed) return;
    const outer = this.#acting;
    this.#acting = true;
    try {
      work();
    } catch (error) {
      this.#fail(error);
    }
    this.#acting = outer;
    this.#output.flush();
    this.#countUnsent();
  }

  /** The process holds too many bytes, and this connection the most of them. */
  #endAsLargest(): void {
    const error = new ConnectionError('ENHANCE_YOUR_CALM', 'too many bytes of requests and answers wait');
    if (this.#acting) throw error;
    this.#act(() => {
      throw error;
    });
  }

  #fail(error: unknown): void {
    const { code, message } =
      error instanceof ConnectionError ? error : { code: 'INTERNAL_ERROR' as const, message: '' };
    this.#error = code;
    this.#output.goAway(Math.min(this.#session.lastId, this.#session.finalId), code, message);
    this.#close();
  }

  #finalGoAway(): void {
    this.#session.finalId = this.#session.lastId;
    this.#act(() => this.#output.goAway(this.#session.lastId, 'NO_ERROR', 'shutting down'));
  }

  #closeIfDone(): void {
    const leaves = this.#session.leaving || this.#session.finalId !== Infinity;
    if (leaves && this.#calls.pending === 0 && this.#state !== 'closing') this.#close();
  }

  /** Ends our side, and discards what still comes: closing with unread input would reset the client. */
  #close(lingerMs = LINGER_MS): void {
    this.#state = 'closing';
    this.#endsAt = this.#options.now() + lingerMs;
    this.#account.close();
    this.#calls.destroy();
    this.#rest?.chunk.fill(0);
    this.#rest = undefined;
    this.#output.flush();
    this.#socket.end();
    this.#socket.resume();
  }

  #readPreface(chunk: Buffer, at: number): number {
    const length = Math.min(PREFACE.length - this.#prefaceRead, chunk.length - at);
    if (PREFACE.compare(chunk, at, at + length, this.#prefaceRead, this.#prefaceRead + length) !== 0)
      throw new ConnectionError('PROTOCOL_ERROR', 'not HTTP/2');
    this.#prefaceRead += length;
    return at + length;
  }

  #onClose(): void {
    this.#account.close();
    this.#calls.destroy();
    this.#output.destroy();
    this.#reader.destroy();
    this.#rest?.chunk.fill(0);
    this.#rest = undefined;
    this.#options.onClosed(this.#error);
  }
}

function settingsPayload(settings: readonly (readonly [number, number])[]): Buffer {
  const payload = Buffer.alloc(6 * settings.length);
  settings.forEach(([setting, value], index) => {
    payload.writeUInt16BE(setting, 6 * index);
    payload.writeUInt32BE(value, 6 * index + 2);
  });
  return payload;
}
