import { settle } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ByteAccount, ByteBudget } from '../../../src/transport/h2/byte-budget.ts';
import { MAX_CONNECTION_BYTES, MAX_INSTANCE_BYTES, MAX_PROCESS_BYTES } from '../../../src/transport/h2/limits.ts';
import { processBudget } from '../../../src/transport/h2/transport.ts';
import { GrpcStatus, MAX_REQUEST_BYTES } from '../../../src/transport/seam.ts';
import type { Handler } from '../../../src/transport/seam.ts';
import { call, data, frame, grpc, headers, settings, Type, uint32 } from './frames.ts';
import { Rig } from './rig.ts';
import type { RigClient } from './rig.ts';

const test = suite('h2 byte bounds');

const INITIAL_WINDOW_SIZE = 4;
const ENHANCE_YOUR_CALM = 11;
const KIB_64 = 65_535;

const clients: RigClient[] = [];

function connect(rig: Rig, entries: readonly (readonly [number, number])[] = []): RigClient {
  const client = rig.connect(entries);
  clients.push(client);
  return client;
}

test.after.each(() => {
  for (const { socket } of clients.splice(0)) socket.destroy();
  assert.is(processBudget.held, 0);
});

/** Sends frames that fit the frame size, and lets the connection have its turns. */
async function sendData(client: RigClient, id: number, bytes: Buffer, ends: boolean): Promise<void> {
  for (let at = 0; at < bytes.length; at += 16_384) {
    const last = at + 16_384 >= bytes.length;
    client.send(data(id, bytes.subarray(at, at + 16_384), last && ends ? 1 : 0));
    if (client.socket.paused) await settle();
  }
}

/** Begins requests that the client does not end, until `stop` says so. Returns the id of the last. */
async function hoardRequests(client: RigClient, stop: (id: number) => boolean): Promise<number> {
  const part = grpc(Buffer.alloc(MAX_REQUEST_BYTES)).subarray(0, -1);
  for (let id = 1; ; id += 2) {
    client.send(headers(id));
    await sendData(client, id, part, false);
    if (stop(id)) return id;
  }
}

test('300 requests of 64 KiB, all under way at once, are answered', async () => {
  const client = connect(new Rig((request) => Buffer.of(request.length)));
  const bytes = grpc(Buffer.alloc(KIB_64));
  const ids = Array.from({ length: 300 }, (_, n) => 2 * n + 1);
  for (const id of ids) {
    client.send(headers(id));
    await sendData(client, id, bytes.subarray(0, -1), false);
  }
  for (const id of ids) {
    client.send(data(id, bytes.subarray(-1)));
    if (client.socket.paused) await settle();
  }
  assert.ok(ids.every((id) => client.status(id) === GrpcStatus.OK));
  assert.is(processBudget.held, 0);
});

test('300 answers of 64 KiB wait for the windows of a client, and reach it', async () => {
  const client = connect(new Rig(() => Buffer.alloc(KIB_64)), [[INITIAL_WINDOW_SIZE, 0]]);
  const ids = Array.from({ length: 300 }, (_, n) => 2 * n + 1);
  for (const id of ids) {
    client.send(call(id));
    if (client.socket.paused) await settle();
  }
  assert.is(processBudget.held, 300 * KIB_64);
  client.send(frame(Type.WINDOW_UPDATE, 0, 0, uint32(2 ** 30)), settings([[INITIAL_WINDOW_SIZE, 100_000]]));
  assert.ok(ids.every((id) => client.message(id)?.length === KIB_64));
  assert.is(processBudget.held, 0);
});

test('when a connection holds too many bytes of requests, its newest call is refused, and the others go on', async () => {
  const client = connect(new Rig(() => Buffer.of(1)));
  const refused = await hoardRequests(client, (id) => client.status(id) === GrpcStatus.RESOURCE_EXHAUSTED);
  assert.ok(
    processBudget.held <= MAX_CONNECTION_BYTES && processBudget.held > MAX_CONNECTION_BYTES - MAX_REQUEST_BYTES,
  );
  client.send(data(1, Buffer.alloc(1)));
  assert.is(client.status(1), GrpcStatus.OK);
  client.send(call(refused + 2, 'small'));
  assert.is(client.status(refused + 2), GrpcStatus.OK);
});

test('when a connection holds too many bytes of answers, the next one is refused', async () => {
  const client = connect(new Rig(() => Buffer.alloc(KIB_64)), [[INITIAL_WINDOW_SIZE, 0]]);
  let id = -1;
  do {
    id += 2;
    client.send(call(id));
    if (client.socket.paused) await settle();
  } while (client.status(id) === undefined);
  assert.is(client.status(id), GrpcStatus.RESOURCE_EXHAUSTED);
  assert.ok(processBudget.held <= MAX_CONNECTION_BYTES && processBudget.held > MAX_CONNECTION_BYTES - KIB_64);
});

test('a request whose handler runs is held until the handler settles, also when it was reset', async () => {
  const handler: Handler = (_, { signal }) =>
    new Promise((_, reject) => signal.addEventListener('abort', () => setImmediate(reject, new Error('aborted'))));
  const client = connect(new Rig(handler));
  client.send(call(1, Buffer.alloc(1_000)));
  assert.is(processBudget.held, 1_000);
  client.send(frame(Type.RST_STREAM, 0, 1, uint32(8)));
  assert.is(processBudget.held, 1_000);
  await settle();
  assert.is(processBudget.held, 0);
});

test('when an instance holds too many bytes, its connection with the most is ended, and the others go on', async () => {
  const rig = new Rig();
  const [large, small] = [connect(rig), connect(rig)];
  small.send(headers(1), data(1, grpc('small').subarray(0, 7), 0));
  const half = MAX_CONNECTION_BYTES / MAX_REQUEST_BYTES - 1;
  await hoardRequests(large, (id) => id > 2 * half - 2);
  const before = processBudget.held;
  const other = connect(rig);
  await hoardRequests(other, () => large.goAway() !== undefined);
  assert.is(large.goAway(), ENHANCE_YOUR_CALM);
  assert.is(other.goAway(), undefined);
  assert.ok(before < MAX_INSTANCE_BYTES && processBudget.held < MAX_INSTANCE_BYTES - before + MAX_REQUEST_BYTES);
  small.send(data(1, grpc('small').subarray(7)));
  assert.equal(small.message(1), Buffer.from('small'));
  await rig.clock.advance(2_000);
  assert.is(rig.transport.violations.get('ENHANCE_YOUR_CALM'), 1);
});

test('when the process holds too many bytes, the connection with the most is ended, of whatever instance', async () => {
  const rigs = [new Rig(), new Rig(), new Rig(), new Rig()];
  const quiet = connect(rigs[0]!);
  const each = MAX_PROCESS_BYTES / 3 / MAX_REQUEST_BYTES;
  const large = connect(rigs[1]!);
  await hoardRequests(large, (id) => id > 2 * each);
  const others = [connect(rigs[2]!), connect(rigs[3]!)];
  for (const one of others) await hoardRequests(one, (id) => id > 2 * each - 10 || large.goAway() !== undefined);
  assert.is(large.goAway(), undefined);
  quiet.send(headers(1), data(1, grpc('small').subarray(0, 7), 0));
  await hoardRequests(connect(rigs[0]!), () => large.goAway() !== undefined);
  assert.is(large.goAway(), ENHANCE_YOUR_CALM);
  assert.ok(others.every((one) => one.goAway() === undefined));
  quiet.send(data(1, grpc('small').subarray(7)));
  assert.equal(quiet.message(1), Buffer.from('small'));
});

test('a budget ends the largest until the rest fits, and counts what an ended one held no more', () => {
  const process = new ByteBudget(100);
  const [first, second] = [new ByteBudget(70, process), new ByteBudget(70, process)];
  const ended: string[] = [];
  const open = (budget: ByteBudget, name: string): ByteAccount => new ByteAccount(budget, () => ended.push(name));
  const [a, b, c] = [open(first, 'a'), open(first, 'b'), open(second, 'c')];
  a.hold(40);
  b.hold(30);
  c.hold(30);
  assert.equal([ended, process.held], [[], 100]);
  b.hold(1);
  assert.equal([ended, first.held, second.held, process.held], [['a'], 31, 30, 61]);
  a.hold(-40);
  assert.is(process.held, 61);
  c.hold(41);
  assert.equal([ended, first.held, second.held, process.held], [['a', 'c'], 31, 0, 31]);
  b.close();
  assert.is(process.held, 0);
});

test.run();
