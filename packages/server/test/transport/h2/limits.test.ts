import { FakeClock, settle } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Handler } from '../../../src/transport/seam.ts';
import {
  call,
  data,
  END_HEADERS,
  frame,
  grpc,
  headers,
  integer,
  literal,
  PREFACE,
  requestBlock,
  settings,
  string,
  Type,
  uint32,
} from './frames.ts';
import { Rig } from './rig.ts';
import type { RigClient } from './rig.ts';

const test = suite('h2 limits');

const ENHANCE_YOUR_CALM = 11;

/** Sends what a flood is made of until the connection ends. Returns how often. */
async function flood(client: RigClient, make: (n: number) => readonly Buffer[], most: number): Promise<number> {
  for (let n = 0; n < most; n++) {
    client.send(...make(n));
    if (client.socket.paused) await settle();
    if (client.socket.writableEnded) return n;
  }
  return most;
}

/** The attacks of CVE-2019-9512 and after: what is sent over and over. All cost credits. */
const FLOODS: readonly (readonly [what: string, make: (n: number) => readonly Buffer[]])[] = [
  ['PING', () => [frame(Type.PING, 0, 0, Buffer.alloc(8))]],
  ['SETTINGS', () => [settings()]],
  ['WINDOW_UPDATE', () => [frame(Type.WINDOW_UPDATE, 0, 0, uint32(1))]],
  ['PRIORITY', () => [frame(Type.PRIORITY, 0, 3, Buffer.alloc(5))]],
  ['unknown frames', () => [frame(0x42, 0, 0)]],
  ['GOAWAY', () => [frame(Type.GOAWAY, 0, 0, uint32(0, 0))]],
  ['unknown methods', (n) => [headers(2 * n + 1, requestBlock({ ':path': '/x' }), END_HEADERS | 1)]],
  [
    'messages that are shorter than announced',
    (n) => [headers(2 * n + 1), data(2 * n + 1, Buffer.from([0, 0, 2, 0, 0]))],
  ],
  ['resets of closed streams', (n) => [...(n === 0 ? [call(1)] : []), frame(Type.RST_STREAM, 0, 1, uint32(8))]],
  ['resets before the request is whole', (n) => [headers(2 * n + 1), frame(Type.RST_STREAM, 0, 2 * n + 1, uint32(8))]],
];
for (const [what, make] of FLOODS) {
  test(`a flood of ${what} ends its connection after 1,000, and a neighbour is served`, async () => {
    const rig = new Rig();
    const [client, neighbour] = [rig.connect(), rig.connect()];
    neighbour.send(call(1));
    // GOAWAY with nothing pending ends the connection in order; an open call keeps it.
    if (what === 'GOAWAY') client.send(headers(1));
    const sent = await flood(client, make, 2_000);
    assert.ok(sent >= 900 && sent <= 1_001, `${sent}`);
    assert.is(client.goAway(), ENHANCE_YOUR_CALM);
    neighbour.send(call(3, 'neighbour'));
    assert.equal(neighbour.message(3), Buffer.from('neighbour'));
    assert.equal([...rig.transport.violations.keys()], []);
    await rig.clock.advance(2_000);
    assert.is(rig.transport.violations.get('ENHANCE_YOUR_CALM'), 1);
  });
}

test('a client that pings and updates its window with each call is never ended (grpc-go)', async () => {
  const client = new Rig().connect();
  const ping = [frame(Type.PING, 0, 0, Buffer.alloc(8)), frame(Type.WINDOW_UPDATE, 0, 0, uint32(100))];
  assert.is(await flood(client, (n) => [...ping, call(2 * n + 1)], 5_000), 5_000);
  assert.is(client.goAway(), undefined);
});

test('256 calls that time out every 3 s are never taken for an attack', async () => {
  const handler: Handler = () => new Promise(() => undefined);
  const rig = new Rig(handler);
  const client = rig.connect();
  for (let n = 0; n < 256; n++) client.send(call(2 * n + 1), frame(Type.RST_STREAM, 0, 2 * n + 1, uint32(8)));
  await settle();
  assert.is(client.goAway(), undefined);
});

test('empty DATA frames end the connection', async () => {
  const client = new Rig().connect();
  client.send(headers(1));
  assert.ok((await flood(client, () => [data(1, '', 0)], 2_000)) <= 256);
  assert.is(client.goAway(), ENHANCE_YOUR_CALM);
});

test('a message in more than 256 frames ends the connection', async () => {
  const client = new Rig().connect();
  client.send(headers(1), data(1, grpc(Buffer.alloc(1_000)).subarray(0, 5), 0));
  assert.is(await flood(client, () => [data(1, 'x', 0)], 900), 255);
  assert.is(client.goAway(), ENHANCE_YOUR_CALM);
});

test('a header block of more than 5 frames ends the connection', async () => {
  const client = new Rig().connect();
  client.send(headers(1, requestBlock(), 0));
  assert.is(await flood(client, () => [frame(Type.CONTINUATION, 0, 1)], 100), 4);
  assert.is(client.goAway(), ENHANCE_YOUR_CALM);
});

test('a header block over 16 KiB ends the connection before it is decoded', () => {
  const client = new Rig().connect();
  const part = Buffer.alloc(9_000, 0x80);
  client.send(headers(1, part, 0), frame(Type.CONTINUATION, END_HEADERS, 1, part));
  assert.is(client.goAway(), ENHANCE_YOUR_CALM);
});

test('an HPACK bomb ends the connection: indexed fields count with their size', () => {
  const client = new Rig().connect();
  // One field of 4,000 bytes into the table, then references to it.
  const value = 'v'.repeat(3_900);
  const insert = Buffer.concat([Buffer.of(0x40), string('x-bomb'), string(value)]);
  client.send(
    headers(1, Buffer.concat([requestBlock(), insert, ...Array.from({ length: 10 }, () => Buffer.of(0x80 | 62))])),
  );
  assert.is(client.goAway(), ENHANCE_YOUR_CALM);
});

test('more than 64 header fields end the connection', () => {
  const client = new Rig().connect();
  const many = Array.from({ length: 64 }, (_, n) => literal(`x-${n}`, ''));
  client.send(headers(1, Buffer.concat([requestBlock(), ...many])));
  assert.is(client.goAway(), ENHANCE_YOUR_CALM);
});

test('a header list of 8,250 bytes is taken, though 8,192 are announced (h2spec 6.10/1)', () => {
  const client = new Rig().connect();
  const long = literal('x-long', 'v'.repeat(8_000));
  client.send(headers(1, Buffer.concat([requestBlock(), long])), data(1, grpc('x')));
  assert.equal(client.message(1), Buffer.from('x'));
});

test('an integer of more than 5 bytes is a compression error', () => {
  const client = new Rig().connect();
  client.send(headers(1, Buffer.concat([integer(7, 0x80, 2 ** 40)])));
  assert.is(client.goAway(), 9);
});

test('more than 32 settings in a frame end the connection', () => {
  const client = new Rig().connect();
  client.send(settings(Array.from({ length: 33 }, () => [0x99, 1] as const)));
  assert.is(client.goAway(), ENHANCE_YOUR_CALM);
});

test('a client that does not read is not read from, and is cut after 30 s', async () => {
  const rig = new Rig(() => Buffer.alloc(60_000));
  const client = rig.connect([[4, 2 ** 30]]);
  client.send(frame(Type.WINDOW_UPDATE, 0, 0, uint32(2 ** 30)));
  client.socket.stuck = true;
  for (let n = 0; n < 10; n++) client.send(call(2 * n + 1));
  assert.ok(client.socket.paused);
  await rig.clock.advance(29_000);
  assert.not.ok(client.socket.destroyed);
  await rig.clock.advance(2_000);
  assert.ok(client.socket.destroyed);
});

test('a client that reads again goes on', async () => {
  const rig = new Rig(() => Buffer.alloc(60_000));
  const client = rig.connect([[4, 2 ** 30]]);
  client.send(frame(Type.WINDOW_UPDATE, 0, 0, uint32(2 ** 30)));
  client.socket.stuck = true;
  for (let n = 0; n < 10; n++) client.send(call(2 * n + 1));
  await rig.clock.advance(20_000);
  client.socket.unstick();
  assert.not.ok(client.socket.paused);
  await rig.clock.advance(60_000);
  assert.not.ok(client.socket.destroyed);
  assert.is(client.message(19)?.length, 60_000);
});

test('a preface that does not come is cut after 5 s', async () => {
  const rig = new Rig();
  const client = rig.accept();
  client.send(PREFACE.subarray(0, 12));
  await rig.clock.advance(4_000);
  assert.not.ok(client.socket.destroyed);
  await rig.clock.advance(1_100);
  assert.ok(client.socket.destroyed);
});

test('an idle connection that has greeted stays', async () => {
  const rig = new Rig();
  const client = rig.connect();
  await rig.clock.advance(3_600_000);
  assert.not.ok(client.socket.destroyed);
});

test('each connection gets a share of 64 calls before any gets a second one', async () => {
  const order: object[] = [];
  const rig = new Rig((request, { connection }) => {
    order.push(connection);
    return Buffer.from(request);
  });
  const [busy, quiet] = [rig.connect(), rig.connect()];
  busy.send(...Array.from({ length: 200 }, (_, n) => call(2 * n + 1)));
  quiet.send(call(1));
  for (let n = 0; n < 10; n++) await settle();
  assert.is(order.length, 201);
  assert.is(order.indexOf(order.find((one) => one !== order[0])!), 64);
});

test('the connections of a socket share 2 ms of a turn, and take turns', async () => {
  let spentMs = 0;
  const clock = Object.assign(new FakeClock(), { now: () => spentMs });
  const order: string[] = [];
  const rig = new Rig((request) => {
    spentMs++;
    order.push(request.toString());
    return Buffer.from(request);
  }, clock);
  const clients = Array.from({ length: 10 }, () => rig.connect());
  for (const [n, client] of clients.entries()) client.send(call(1, `first ${n}`), call(3, `first ${n}`));
  assert.is(order.length, 2, 'the others wait for the next turn');
  clients[0]!.send(call(5, 'second'));
  for (let n = 0; n < 10; n++) await settle();
  assert.equal(order, [...clients.flatMap((_, n) => [`first ${n}`, `first ${n}`]), 'second']);
});

test('a connection that ended leaves nothing behind', async () => {
  const rig = new Rig();
  const client = rig.connect();
  client.send(headers(1), frame(Type.DATA, 0, 1));
  client.send(frame(Type.PING, 0, 3, Buffer.alloc(8)));
  await rig.clock.advance(2_000);
  assert.ok(client.socket.destroyed);
  await rig.clock.advance(1_000);
  assert.is(rig.clock.pending, 0);
});

test.run();
