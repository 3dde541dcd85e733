import { settle } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ACK, call, frame, headers, PREFACE, settings, Type } from './frames.ts';
import { Rig } from './rig.ts';
import type { RigClient } from './rig.ts';

const test = suite('h2 drain');

const lastIds = (client: RigClient): number[] => {
  client.read();
  return client.frames.filter(({ type }) => type === Type.GOAWAY).map(({ payload }) => payload.readUInt32BE(0));
};
const acknowledge = (client: RigClient): Buffer => {
  client.read();
  const ping = client.frames.findLast(({ type, flags }) => type === Type.PING && flags === 0)!;
  return frame(Type.PING, ACK, 0, ping.payload);
};

test('GOAWAY names the last possible stream, then the last one that is processed', async () => {
  const rig = new Rig();
  const client = rig.connect();
  client.send(call(1));
  const drained = rig.transport.drain(10_000);
  client.send(call(3, 'on its way'));
  client.send(acknowledge(client));
  assert.equal(lastIds(client), [2 ** 31 - 1, 3]);
  assert.equal(client.message(3), Buffer.from('on its way'));
  assert.ok(client.socket.writableEnded);
  await rig.clock.advance(10_000);
  await drained;
});

test('a violation after the final GOAWAY does not raise its last stream', async () => {
  const rig = new Rig(() => new Promise(() => undefined));
  const client = rig.connect();
  client.send(call(1));
  void rig.transport.drain(10_000);
  client.send(acknowledge(client));
  client.send(call(3), headers(2));
  assert.equal(lastIds(client), [2 ** 31 - 1, 1, 1]);
  await rig.clock.advance(10_000);
});

test('a client that does not acknowledge is told its last stream after a second', async () => {
  const rig = new Rig();
  const client = rig.connect();
  client.send(call(1));
  void rig.transport.drain(10_000);
  await rig.clock.advance(1_100);
  assert.equal(lastIds(client), [2 ** 31 - 1, 1]);
  await rig.clock.advance(10_000);
});

test('a connection that has not greeted yet learns that nothing was processed, and does not delay the stop', async () => {
  const rig = new Rig();
  const client = rig.accept();
  const drained = rig.transport.drain(10_000);
  client.send(PREFACE, settings(), call(1));
  assert.equal(lastIds(client), [0]);
  assert.ok(client.socket.writableEnded);
  assert.not.ok(client.socket.destroyed);
  await rig.clock.advance(300);
  assert.ok(client.socket.destroyed);
  await drained;
});

test('a connection that comes after the drain is closed, and no timer is left', async () => {
  const rig = new Rig();
  rig.connect();
  const drained = rig.transport.drain(100);
  await rig.clock.advance(3_000);
  await drained;
  const late = rig.accept();
  await settle();
  assert.ok(late.socket.destroyed);
  assert.is(rig.clock.pending, 0);
});

test.run();
