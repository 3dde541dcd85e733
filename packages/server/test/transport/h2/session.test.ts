import { settle } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  ACK,
  call,
  data,
  END_HEADERS,
  END_STREAM,
  frame,
  grpc,
  headers,
  literal,
  PADDED,
  PREFACE,
  requestBlock,
  settings,
  Type,
  uint32,
  WITH_PRIORITY,
} from './frames.ts';
import { MAX_REQUEST_BYTES } from '../../../src/transport/seam.ts';
import { Rig } from './rig.ts';

const test = suite('h2 session');

const PROTOCOL = 1;
const FLOW_CONTROL = 3;
const STREAM_CLOSED = 5;
const FRAME_SIZE = 6;
const COMPRESSION = 9;

/** An open call: its request has not ended. */
const open = headers(1);
/** A call that was answered. */
const done = call(1);
const priority = (dependency: number): Buffer => Buffer.concat([uint32(dependency), Buffer.of(16)]);

/** Violations of RFC 9113, by frame: what is sent after the greeting, and the code of the GOAWAY that ends the connection. */
const VIOLATIONS: readonly (readonly [id: string, sent: readonly Buffer[], code: number])[] = [
  ['any frame over 16,384 bytes', [frame(Type.DATA, 0, 1, Buffer.alloc(16_385))], FRAME_SIZE],
  ['unknown frame inside a header block', [headers(1, requestBlock(), 0), frame(0x20, 0, 1)], PROTOCOL],
  ['DATA on stream 0', [data(0, 'x')], PROTOCOL],
  ['DATA on an idle stream', [data(1, 'x')], PROTOCOL],
  ['DATA with padding over its length', [open, frame(Type.DATA, PADDED, 1, Buffer.of(5, 0, 0))], PROTOCOL],
  ['DATA with PADDED and no payload', [open, frame(Type.DATA, PADDED, 1)], PROTOCOL],
  ['DATA after END_STREAM', [done, data(1, 'x')], STREAM_CLOSED],
  [
    'DATA after the client reset the stream',
    [open, frame(Type.RST_STREAM, 0, 1, uint32(8)), data(1, 'x')],
    STREAM_CLOSED,
  ],
  ['HEADERS on stream 0', [headers(0)], PROTOCOL],
  ['HEADERS on an even stream', [headers(2)], PROTOCOL],
  ['HEADERS on a closed stream', [done, headers(1)], STREAM_CLOSED],
  ['HEADERS on an unused lower stream', [call(5), headers(3)], PROTOCOL],
  [
    'HEADERS that depend on themselves',
    [headers(1, Buffer.concat([priority(1), requestBlock()]), END_HEADERS | WITH_PRIORITY)],
    PROTOCOL,
  ],
  ['HEADERS too short for their priority', [headers(1, Buffer.of(0, 0), END_HEADERS | WITH_PRIORITY)], FRAME_SIZE],
  ['trailers without END_STREAM', [open, headers(1, literal('a', 'b'))], PROTOCOL],
  [
    'trailers with a pseudo-header field',
    [open, headers(1, literal(':path', '/x'), END_HEADERS | END_STREAM)],
    PROTOCOL,
  ],
  ['CONTINUATION without HEADERS', [frame(Type.CONTINUATION, END_HEADERS, 1, requestBlock())], PROTOCOL],
  [
    'CONTINUATION of another stream',
    [headers(1, requestBlock(), 0), frame(Type.CONTINUATION, END_HEADERS, 3)],
    PROTOCOL,
  ],
  ['PRIORITY on stream 0', [frame(Type.PRIORITY, 0, 0, priority(1))], PROTOCOL],
  ['PRIORITY that depends on itself', [frame(Type.PRIORITY, 0, 3, priority(3))], PROTOCOL],
  ['PRIORITY of 4 bytes', [frame(Type.PRIORITY, 0, 3, uint32(1))], FRAME_SIZE],
  ['RST_STREAM on stream 0', [frame(Type.RST_STREAM, 0, 0, uint32(8))], PROTOCOL],
  ['RST_STREAM on an idle stream', [frame(Type.RST_STREAM, 0, 1, uint32(8))], PROTOCOL],
  ['RST_STREAM of 3 bytes', [open, frame(Type.RST_STREAM, 0, 1, Buffer.alloc(3))], FRAME_SIZE],
  ['SETTINGS on a stream', [frame(Type.SETTINGS, 0, 1)], PROTOCOL],
  ['SETTINGS with ENABLE_PUSH 2', [settings([[2, 2]])], PROTOCOL],
  ['SETTINGS with MAX_FRAME_SIZE 16,383', [settings([[5, 16_383]])], PROTOCOL],
  ['SETTINGS with MAX_FRAME_SIZE 2^24', [settings([[5, 2 ** 24]])], PROTOCOL],
  ['SETTINGS with INITIAL_WINDOW_SIZE 2^31', [settings([[4, 2 ** 31]])], FLOW_CONTROL],
  ['SETTINGS of 5 bytes', [frame(Type.SETTINGS, 0, 0, Buffer.alloc(5))], FRAME_SIZE],
  ['SETTINGS ACK with a payload', [frame(Type.SETTINGS, ACK, 0, Buffer.alloc(6))], FRAME_SIZE],
  ['PUSH_PROMISE', [frame(Type.PUSH_PROMISE, END_HEADERS, 1, uint32(2))], PROTOCOL],
  ['PING on a stream', [frame(Type.PING, 0, 1, Buffer.alloc(8))], PROTOCOL],
  ['PING of 7 bytes', [frame(Type.PING, 0, 0, Buffer.alloc(7))], FRAME_SIZE],
  ['GOAWAY on a stream', [frame(Type.GOAWAY, 0, 1, uint32(0, 0))], PROTOCOL],
  ['GOAWAY of 4 bytes', [frame(Type.GOAWAY, 0, 0, uint32(0))], FRAME_SIZE],
  ['WINDOW_UPDATE of 0 on the connection', [frame(Type.WINDOW_UPDATE, 0, 0, uint32(0))], PROTOCOL],
  ['WINDOW_UPDATE of 0 on a stream', [open, frame(Type.WINDOW_UPDATE, 0, 1, uint32(0))], PROTOCOL],
  ['WINDOW_UPDATE on an idle stream', [frame(Type.WINDOW_UPDATE, 0, 1, uint32(1))], PROTOCOL],
  ['WINDOW_UPDATE of 3 bytes', [frame(Type.WINDOW_UPDATE, 0, 0, Buffer.alloc(3))], FRAME_SIZE],
  ['WINDOW_UPDATE over 2^31-1 on the connection', [frame(Type.WINDOW_UPDATE, 0, 0, uint32(2 ** 31 - 1))], FLOW_CONTROL],
  ['WINDOW_UPDATE over 2^31-1 on a stream', [open, frame(Type.WINDOW_UPDATE, 0, 1, uint32(2 ** 31 - 1))], FLOW_CONTROL],
  ['HPACK index 0', [headers(1, Buffer.of(0x80))], COMPRESSION],
  ['HPACK index out of range', [headers(1, Buffer.of(0xff, 0x20))], COMPRESSION],
  ['request without :method', [headers(1, requestBlock({ ':method': undefined }))], PROTOCOL],
  ['request without :scheme', [headers(1, requestBlock({ ':scheme': undefined }))], PROTOCOL],
  ['request without :path', [headers(1, requestBlock({ ':path': undefined }))], PROTOCOL],
  ['request with an empty :path', [headers(1, requestBlock({ ':path': '' }))], PROTOCOL],
  ['request with two :path fields', [headers(1, Buffer.concat([literal(':path', '/a'), requestBlock()]))], PROTOCOL],
  [
    'request with an unknown pseudo-header field',
    [headers(1, requestBlock({ ':status': '200' }).subarray())],
    PROTOCOL,
  ],
  [
    'request with a pseudo-header field after a regular one',
    [headers(1, Buffer.concat([literal('a', 'b'), requestBlock()]))],
    PROTOCOL,
  ],
  ['request with an upper-case name', [headers(1, requestBlock({ 'X-A': 'b' }))], PROTOCOL],
  ['request with an empty name', [headers(1, requestBlock({ '': 'b' }))], PROTOCOL],
  ['request with connection', [headers(1, requestBlock({ connection: 'close' }))], PROTOCOL],
  ['request with te other than trailers', [headers(1, requestBlock({ te: 'gzip' }))], PROTOCOL],
  ['request with CR in a value', [headers(1, requestBlock({ a: 'b\rc' }))], PROTOCOL],
  ['request with a blank before a value', [headers(1, requestBlock({ a: ' b' }))], PROTOCOL],
  ['content-length other than the content', [call(1, 'x', { 'content-length': '7' })], PROTOCOL],
  ['content-length that is no number', [call(1, 'x', { 'content-length': '6x' })], PROTOCOL],
];

for (const [what, sent, code] of VIOLATIONS) {
  test(`a violation ends its connection: ${what}`, () => {
    const rig = new Rig();
    const [client, neighbour] = [rig.connect(), rig.connect()];
    client.send(...sent);
    assert.is(client.goAway(), code);
    assert.ok(client.socket.writableEnded);
    neighbour.send(call(1, 'neighbour'));
    assert.equal(neighbour.message(1), Buffer.from('neighbour'));
  });
}

test('the first frame must be SETTINGS', () => {
  const client = new Rig().accept();
  client.send(PREFACE, frame(Type.PING, 0, 0, Buffer.alloc(8)));
  assert.is(client.goAway(), PROTOCOL);
});

test('the first SETTINGS must not be an ACK', () => {
  const client = new Rig().accept();
  client.send(PREFACE, frame(Type.SETTINGS, ACK, 0));
  assert.is(client.goAway(), PROTOCOL);
});

test('bytes that are not the preface end the connection', () => {
  const client = new Rig().accept();
  client.send(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
  assert.ok(client.socket.writableEnded);
});

/** What is lawful, and must not end the connection. */
const LAWFUL: readonly (readonly [what: string, sent: readonly Buffer[]])[] = [
  ['unknown frame type', [frame(0x10, 0xff, 0, Buffer.alloc(20))]],
  ['unknown flags', [frame(Type.PING, 0xf0, 0, Buffer.alloc(8))]],
  ['PRIORITY on an idle stream', [frame(Type.PRIORITY, 0, 7, priority(1))]],
  ['RST_STREAM on a closed stream', [done, frame(Type.RST_STREAM, 0, 1, uint32(8))]],
  ['WINDOW_UPDATE on a closed stream', [done, frame(Type.WINDOW_UPDATE, 0, 1, uint32(9))]],
  ['unknown setting', [settings([[0x99, 1]])]],
  ['extra SETTINGS ACK', [frame(Type.SETTINGS, ACK, 0), frame(Type.SETTINGS, ACK, 0)]],
  ['PING ACK that nobody asked for', [frame(Type.PING, ACK, 0, Buffer.alloc(8))]],
  ['trailers of a request', [open, data(1, grpc('x'), 0), headers(1, literal('a', 'b'), END_HEADERS | END_STREAM)]],
  [
    'padded HEADERS with priority',
    [
      headers(
        1,
        Buffer.concat([Buffer.of(3), priority(0), requestBlock(), Buffer.alloc(3)]),
        END_HEADERS | PADDED | WITH_PRIORITY,
      ),
    ],
  ],
  ['stream ids that skip', [call(7), call(101)]],
];

for (const [what, sent] of LAWFUL) {
  test(`lawful: ${what}`, () => {
    const client = new Rig().connect();
    client.send(...sent, call(1001, 'after'));
    assert.is(client.goAway(), undefined);
    assert.equal(client.message(1001), Buffer.from('after'));
  });
}

test('SETTINGS and WINDOW_UPDATE go out before anything has come', () => {
  const client = new Rig().accept();
  assert.equal(
    client.read().map(({ type }) => type),
    [Type.SETTINGS, Type.WINDOW_UPDATE],
  );
});

test('SETTINGS are acknowledged', () => {
  const client = new Rig().connect();
  assert.is(client.read().filter(({ type, flags }) => type === Type.SETTINGS && flags === ACK).length, 1);
});

test('PING is answered with its payload', () => {
  const client = new Rig().connect();
  client.send(frame(Type.PING, 0, 0, Buffer.from('12345678')));
  const pong = client.read().find(({ type }) => type === Type.PING);
  assert.equal([pong?.flags, pong?.payload.toString()], [ACK, '12345678']);
});

test('a header block in several frames is one', () => {
  const client = new Rig().connect();
  const block = requestBlock();
  client.send(
    headers(1, block.subarray(0, 10), 0),
    frame(Type.CONTINUATION, 0, 1, block.subarray(10, 11)),
    frame(Type.CONTINUATION, END_HEADERS, 1, block.subarray(11)),
    data(1, grpc('x')),
  );
  assert.equal(client.message(1), Buffer.from('x'));
});

test('padding is no part of the message, and counts on the windows', async () => {
  const client = new Rig().connect();
  const padded = Buffer.concat([Buffer.of(200), grpc('x'), Buffer.alloc(200)]);
  for (let id = 1; id < 6_001; id += 2) {
    client.send(headers(id), frame(Type.DATA, PADDED | END_STREAM, id, padded));
    if (client.socket.paused) await settle();
  }
  assert.equal(client.message(1), Buffer.from('x'));
  const credit = client.frames.filter(({ type, id }) => type === Type.WINDOW_UPDATE && id === 0).slice(1);
  assert.ok(credit.reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0) >= 2 ** 19);
});

test('the connection window is given back when half of it is used', () => {
  const client = new Rig().connect();
  for (let id = 1; id <= 11; id += 2) {
    const bytes = grpc(Buffer.alloc(120_000));
    client.send(headers(id));
    for (let at = 0; at < bytes.length; at += 16_384) {
      const end = at + 16_384 >= bytes.length;
      client.send(data(id, bytes.subarray(at, at + 16_384), end ? END_STREAM : 0));
    }
  }
  const updates = client.read().filter(({ type, id }) => type === Type.WINDOW_UPDATE && id === 0);
  // The first one, at the start, lifts the default to 1 MiB.
  assert.is(updates.length, 2);
  assert.ok(updates[1]!.payload.readUInt32BE(0) >= 2 ** 19);
});

test('a stream that overruns its window ends the connection', () => {
  const client = new Rig().connect();
  const bytes = Buffer.concat([grpc(Buffer.alloc(MAX_REQUEST_BYTES)), Buffer.alloc(16_384)]);
  client.send(headers(1));
  for (let n = 0; n < 9; n++) client.send(data(1, bytes.subarray(n * 16_384, (n + 1) * 16_384), 0));
  assert.is(client.goAway(), FLOW_CONTROL);
});

test('a window that SETTINGS would lift above 2^31-1 ends the connection', () => {
  const client = new Rig().connect([[4, 0]]);
  client.send(headers(1), frame(Type.WINDOW_UPDATE, 0, 1, uint32(2 ** 31 - 1)), settings([[4, 1]]));
  assert.is(client.goAway(), FLOW_CONTROL);
});

test('thousands of requests that never end, answered early, do not end the connection (nghttp2)', async () => {
  const rig = new Rig();
  const client = rig.connect();
  for (let n = 0; n < 3_000; n++) {
    client.send(headers(2 * n + 1, requestBlock({ ':path': '/other' })));
    if (client.socket.paused) await settle();
    if (n % 500 === 499) await rig.clock.advance(10_000);
  }
  client.send(call(6_001, 'after'));
  await settle();
  assert.equal(client.message(6_001), Buffer.from('after'));
});

test.run();
