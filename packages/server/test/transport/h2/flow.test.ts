import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GrpcStatus } from '../../../src/transport/seam.ts';
import { call, data, frame, grpc, headers, requestBlock, settings, Type, uint32 } from './frames.ts';
import { Rig } from './rig.ts';
import type { RigClient } from './rig.ts';

const test = suite('h2 flow control');

const INITIAL_WINDOW_SIZE = 4;
const grant = (id: number, bytes: number): Buffer => frame(Type.WINDOW_UPDATE, 0, id, uint32(bytes));
const dataBytes = (client: RigClient): number =>
  client.frames.filter(({ type }) => type === Type.DATA).reduce((sum, { payload }) => sum + payload.length, 0);

test('an answer over the stream window comes in pieces, as the client gives credit', () => {
  const client = new Rig(() => Buffer.alloc(100, 1)).connect([[INITIAL_WINDOW_SIZE, 10]]);
  client.send(call(1));
  client.read();
  assert.is(dataBytes(client), 10);
  client.send(grant(1, 50));
  client.read();
  assert.is(dataBytes(client), 60);
  client.send(grant(1, 1_000));
  assert.equal(client.message(1), Buffer.alloc(100, 1));
  assert.is(client.status(1), GrpcStatus.OK);
});

test('an answer that meets a window of 0 waits for SETTINGS that open it', () => {
  const client = new Rig().connect([[INITIAL_WINDOW_SIZE, 0]]);
  client.send(call(1, 'hello'));
  assert.is(client.answer(1), undefined);
  client.send(settings([[INITIAL_WINDOW_SIZE, 100]]));
  assert.equal(client.message(1), Buffer.from('hello'));
});

test('a window that SETTINGS make negative must be filled first', () => {
  const client = new Rig(() => Buffer.alloc(95, 1)).connect([[INITIAL_WINDOW_SIZE, 60]]);
  client.send(call(1));
  client.send(settings([[INITIAL_WINDOW_SIZE, 10]]), grant(1, 50));
  client.read();
  assert.is(dataBytes(client), 60);
  client.send(grant(1, 40));
  assert.equal(client.message(1), Buffer.alloc(95, 1));
});

test('the connection window holds for all streams together, and none is forgotten', () => {
  const client = new Rig(() => Buffer.alloc(995, 1)).connect();
  for (let n = 0; n < 63; n++) client.send(call(2 * n + 1));
  client.read();
  assert.is(dataBytes(client), 63_000);
  const more = new Rig(() => Buffer.alloc(1_995, 1)).connect();
  for (let n = 0; n < 40; n++) more.send(call(2 * n + 1));
  more.read();
  assert.is(dataBytes(more), 65_535);
  more.send(grant(0, 100_000));
  more.read();
  for (let n = 0; n < 40; n++) assert.equal(more.message(2 * n + 1), Buffer.alloc(1_995, 1));
});

test('an answer over 16,384 bytes comes in frames of at most that', () => {
  const client = new Rig(() => Buffer.alloc(50_000, 1)).connect();
  client.send(call(1));
  client.read();
  const sizes = client.frames.filter(({ type }) => type === Type.DATA).map(({ payload }) => payload.length);
  assert.equal(sizes, [16_384, 16_384, 16_384, 853]);
  assert.equal(client.message(1), Buffer.alloc(50_000, 1));
});

for (const size of [1, 2, 3, 4, 5, 6]) {
  test(`a stream window of ${size} bytes`, () => {
    const client = new Rig().connect([[INITIAL_WINDOW_SIZE, size]]);
    client.send(call(1, 'hello'));
    for (let n = 0; n < 10; n++) client.send(grant(1, size));
    assert.equal(client.message(1), Buffer.from('hello'));
    assert.is(client.goAway(), undefined);
  });

  test(`${size} bytes left of the connection window`, () => {
    const client = new Rig((request) => Buffer.alloc(request.length)).connect([[INITIAL_WINDOW_SIZE, 100_000]]);
    client.send(headers(1));
    const first = grpc(Buffer.alloc(65_535 - 5 - size, 1));
    for (let at = 0; at < first.length; at += 16_384) {
      client.send(data(1, first.subarray(at, at + 16_384), at + 16_384 >= first.length ? 1 : 0));
    }
    client.send(call(3, 'hello'));
    client.read();
    assert.is(dataBytes(client), 65_535);
    client.send(grant(0, 100));
    assert.equal(client.message(3), Buffer.alloc(5));
  });
}

test('an error needs no window', () => {
  const client = new Rig().connect([[INITIAL_WINDOW_SIZE, 0]]);
  client.send(call(1), headers(3, requestBlock({ ':path': '/none' })));
  assert.is(client.status(3), GrpcStatus.UNIMPLEMENTED);
});

test('a stream without window does not hold up the others', () => {
  const client = new Rig().connect([[INITIAL_WINDOW_SIZE, 6]]);
  client.send(call(1, Buffer.alloc(50)), call(3, 'x'));
  assert.equal(client.message(3), Buffer.from('x'));
});

test('a blocked answer is given up at its deadline, wiped, and reset', async () => {
  const answer = Buffer.alloc(100, 7);
  const rig = new Rig(() => answer);
  const client = rig.connect([[INITIAL_WINDOW_SIZE, 10]]);
  client.send(call(1, 'x', { 'grpc-timeout': '1S' }));
  await rig.clock.advance(2_000);
  assert.is(client.answer(1)!.reset, 8);
  assert.equal(answer, Buffer.alloc(100));
});

test('a blocked answer without a deadline is given up after 30 s', async () => {
  const rig = new Rig();
  const client = rig.connect([[INITIAL_WINDOW_SIZE, 0]]);
  client.send(call(1));
  await rig.clock.advance(29_000);
  assert.is(client.answer(1), undefined);
  await rig.clock.advance(2_000);
  assert.is(client.answer(1)!.reset, 8);
});

test('a request that does not arrive in time is given up after 10 s', async () => {
  const rig = new Rig();
  const client = rig.connect();
  client.send(headers(1), data(1, grpc('x').subarray(0, 3), 0));
  await rig.clock.advance(11_000);
  assert.is(client.answer(1)!.reset, 8);
  client.send(data(1, 'late'), call(3, 'next'));
  assert.equal(client.message(3), Buffer.from('next'));
});

test.run();
