// What a tenant that floods its socket leaves behind, over real sockets: no descriptor, no stream, no memory. How long its
// neighbours wait is a benchmark (packages/bench, floods).
import { FakeClock, newDirectory, settle, until } from '@teapot-kms/testing';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ErrorCodeName } from '../../../src/transport/h2/errors.ts';
import { H2Transport } from '../../../src/transport/h2/transport.ts';
import { maxStreams } from '../../../src/transport/seam.ts';
import type { Handler } from '../../../src/transport/seam.ts';
import { SocketListener } from '../../../src/transport/socket.ts';
import {
  call,
  data,
  END_HEADERS,
  END_STREAM,
  frame,
  grpc,
  headers,
  literal,
  PREFACE,
  requestBlock,
  settings,
  Type,
  uint32,
} from './frames.ts';
import { heldBytes } from './held-bytes.ts';

const MiB = 2 ** 20;
const WINDOW_0 = [[4, 0]] as const;
const CANCEL = uint32(8);
/** Bytes that may stay: code that V8 has compiled in the meantime, and its own caches. */
const NOISE = MiB;

interface Flood {
  readonly what: string;
  readonly connections?: number;
  readonly settings?: readonly (readonly [number, number])[];
  /** What is sent for each stream. */
  readonly stream: (id: number) => Buffer;
  readonly streams: number;
  /** The transport may hold this much for each connection while it is open. */
  readonly holds?: number;
  /** The transport ends connections before all is sent, with this code. */
  readonly ends?: ErrorCodeName;
  /** How many. Default: all. */
  readonly ended?: number;
}

const tiny = (id: number): Buffer => {
  const bytes = grpc('a message in frames of one byte');
  return Buffer.concat([
    headers(id),
    ...Array.from(bytes, (_, n) => data(id, bytes.subarray(n, n + 1), n + 1 === bytes.length ? END_STREAM : 0)),
  ]);
};
const unfinished = (id: number): Buffer =>
  Buffer.concat([headers(id), data(id, grpc(Buffer.alloc(128 * 1024)).subarray(0, 16_384), 0)]);
const emptyMessages = Buffer.alloc(16_380);

const FLOODS: readonly Flood[] = [
  { what: 'calls', stream: (id) => call(id), streams: 5_000 },
  {
    what: 'calls that are reset at once',
    stream: (id) => Buffer.concat([call(id), frame(Type.RST_STREAM, 0, id, CANCEL)]),
    streams: 5_000,
  },
  {
    what: 'calls that wait and are reset',
    stream: (id) => Buffer.concat([call(id, 'x', { ':path': '/test/Later' }), frame(Type.RST_STREAM, 0, id, CANCEL)]),
    streams: 200,
  },
  {
    what: 'trailers',
    stream: (id) =>
      Buffer.concat([
        headers(id),
        data(id, grpc('x'), 0),
        headers(id, literal('x-trailer', 'y'), END_HEADERS | END_STREAM),
      ]),
    streams: 5_000,
  },
  {
    what: 'HEAD',
    stream: (id) => headers(id, requestBlock({ ':method': 'HEAD' }), END_HEADERS | END_STREAM),
    streams: 2_000,
    ends: 'ENHANCE_YOUR_CALM',
  },
  {
    what: 'unknown methods',
    stream: (id) => call(id, 'x', { ':path': '/test/Other' }),
    streams: 2_000,
    ends: 'ENHANCE_YOUR_CALM',
  },
  { what: 'tiny messages', stream: tiny, streams: 1_000 },
  {
    what: 'rapid reset',
    stream: (id) => Buffer.concat([headers(id), frame(Type.RST_STREAM, 0, id, CANCEL)]),
    streams: 2_000,
    ends: 'ENHANCE_YOUR_CALM',
  },
  {
    what: 'another content-type',
    stream: (id) => call(id, 'x', { 'content-type': 'text/html' }),
    streams: 2_000,
    ends: 'ENHANCE_YOUR_CALM',
  },
  { what: 'grpc-timeout 1n', stream: (id) => call(id, 'x', { 'grpc-timeout': '1n' }), streams: 5_000 },
  {
    what: '10,000 calls that wait, on 10 connections',
    connections: 10,
    stream: (id) => call(id, 'x', { ':path': '/test/Later' }),
    streams: 1_000,
    holds: 2 * MiB,
  },
  {
    what: 'empty messages in unary calls',
    connections: 18,
    stream: (id) => Buffer.concat([headers(id), ...Array.from({ length: 16 }, () => data(id, emptyMessages, 0))]),
    streams: 20,
    holds: MiB / 4,
  },
  {
    what: 'answers that no window takes',
    connections: 3,
    settings: WINDOW_0,
    stream: (id) => call(id, Buffer.alloc(16_000)),
    streams: 2_300,
    ends: 'ENHANCE_YOUR_CALM',
  },
  {
    what: 'messages that never end',
    connections: 3,
    stream: unfinished,
    streams: 1_000,
    holds: 16 * MiB,
    ends: 'ENHANCE_YOUR_CALM',
    // The largest holder: then the instance is within its bound again.
    ended: 1,
  },
  {
    what: 'the compressed flag',
    stream: (id) => Buffer.concat([headers(id, requestBlock({ 'grpc-encoding': 'gzip' })), data(id, grpc('', 1))]),
    streams: 2_000,
    ends: 'ENHANCE_YOUR_CALM',
  },
  {
    what: 'HEADERS left open, GOAWAY, and DATA on a stream that does not exist',
    stream: (id) => Buffer.concat([headers(id), frame(Type.GOAWAY, 0, 0, uint32(0, 0)), data(id + 98, 'x')]),
    streams: 1,
    ends: 'PROTOCOL_ERROR',
  },
];

/** A transport on a socket, with a neighbour that has a connection of its own. */
class Site {
  readonly clock = new FakeClock();
  /** Handlers of /test/Later that have not settled, and the most of them at a time. */
  running = 0;
  mostRunning = 0;
  readonly transport = new H2Transport(
    new Map<string, Handler>([
      ['/test/Call', (request) => Buffer.from(request)],
      ['/test/Later', (_, { signal }) => this.#later(signal)],
    ]),
    { clock: this.clock },
  );
  readonly #path = join(newDirectory(), 'kms.sock');
  #listener: SocketListener | undefined;
  #neighbour: { readonly socket: Socket; calls: number } | undefined;

  async listen(): Promise<void> {
    const onConnection = this.transport.accept.bind(this.transport);
    this.#listener = await SocketListener.listen({ path: this.#path, mode: 0o600, takeOver: false, onConnection });
    this.#neighbour = { socket: await this.connect(), calls: 0 };
  }

  async connect(greeting: Buffer = Buffer.concat([PREFACE, settings()])): Promise<Socket> {
    const socket = connect(this.#path);
    // A connection that the transport ends may be reset.
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write(greeting);
    return socket;
  }

  /** A call of the neighbour. */
  async neighbourCalls(): Promise<void> {
    const { socket } = this.#neighbour!;
    const message = `call ${this.#neighbour!.calls}`;
    socket.write(call(2 * this.#neighbour!.calls++ + 1, message));
    let seen = '';
    while (!seen.includes(message)) {
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      seen += chunk.toString('latin1');
    }
  }

  async close(): Promise<void> {
    this.#neighbour?.socket.destroy();
    const closed = this.#listener?.close();
    const drained = this.transport.drain(0);
    await Promise.all([closed, drained]);
  }

  #later(signal: AbortSignal): Promise<Buffer> {
    this.running++;
    this.mostRunning = Math.max(this.mostRunning, this.running);
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        this.running--;
        reject(new Error('nobody waits'));
      });
    });
  }
}

/** Writes `count` streams, as fast as they are read; returns whether all were taken. */
async function write(socket: Socket, { stream, streams }: Flood): Promise<void> {
  const closed = once(socket, 'close');
  for (let id = 1; id < 2 * streams && !socket.destroyed; id += 2) {
    if (!socket.write(stream(id))) await Promise.race([once(socket, 'drain'), closed]);
  }
  // The last bytes have been taken, and what they cause has happened.
  if (!socket.destroyed)
    await Promise.race([new Promise((resolve) => socket.write(frame(0x42, 0, 0), resolve)), closed]);
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

const test = suite('h2 floods');
let site: Site;

test.before.each(async () => {
  site = new Site();
  await site.listen();
});
test.after.each(() => site.close());

for (const flood of FLOODS) {
  const { what, connections = 1, settings: entries = [], holds = 0, ends, ended = connections } = flood;
  const greeting = Buffer.concat([PREFACE, settings(entries), frame(Type.WINDOW_UPDATE, 0, 0, uint32(2 ** 30))]);

  /** Floods, and returns how many bytes are held while the connections are open. */
  const run = async (): Promise<number> => {
    const base = descriptors();
    const sockets = await Promise.all(Array.from({ length: connections }, () => site.connect(greeting)));
    await Promise.all(sockets.map((socket) => write(socket.resume(), flood)));
    await site.neighbourCalls();
    const held = await heldBytes();
    for (const socket of sockets) socket.destroy();
    await until('the transport has closed its sockets', () => descriptors() === base, { everyMs: 10 });
    await until('no handler runs', () => site.running === 0, { everyMs: 10 });
    return held;
  };

  test(`a flood of ${what} leaves nothing behind`, async () => {
    // The first time, code is compiled and tables grow.
    await run();
    const before = await heldBytes();
    const during = await run();
    const after = await heldBytes();
    await site.neighbourCalls();
    assert.ok(during - before < connections * holds + NOISE, `${during - before} bytes are held while it lasts`);
    assert.ok(after - before < NOISE, `${after - before} bytes are held afterwards`);
    assert.ok(site.mostRunning <= connections * maxStreams(), `${site.mostRunning} handlers ran at a time`);
    assert.equal([...site.transport.violations], ends ? [[ends, 2 * ended]] : []);
  });
}

test('half prefaces on all connections that there may be are cut after 5 s', async () => {
  const base = descriptors();
  const sockets = await Promise.all(Array.from({ length: 127 }, () => site.connect(PREFACE.subarray(0, 12))));
  // Both ends are in this process.
  await until('all are accepted', () => descriptors() === base + 2 * sockets.length, { everyMs: 10 });
  await site.neighbourCalls();
  await site.clock.advance(5_100);
  for (const socket of sockets) socket.resume();
  await until('the transport has closed its sockets', () => descriptors() === base, { everyMs: 10 });
  await site.neighbourCalls();
});

test('connections that are closed at any point leave no timer behind', async () => {
  const bytes = Buffer.concat([PREFACE, settings(), call(1), headers(3), data(3, grpc('x'), 0)]);
  for (let length = 0; length <= bytes.length; length++) (await site.connect(bytes.subarray(0, length))).destroy();
  await site.close();
  await settle();
  assert.is(site.clock.pending, 0);
});

test.run();
