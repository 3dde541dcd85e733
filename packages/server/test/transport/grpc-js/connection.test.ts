import { Socket } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Connection } from '../../../src/transport/grpc-js/connection.ts';

const MAX_RUNNING = 1_000;

function setUp() {
  const connection = new Connection(new Socket(), { calls: 0 });
  const started: string[] = [];
  const enter = (name: string, running = true): boolean =>
    connection.enter(() => {
      started.push(name);
      return running;
    });
  return { connection, started, enter };
}

test('calls beyond the limit wait, and start in order as others end', () => {
  const { connection, started, enter } = setUp();
  for (let i = 0; i < MAX_RUNNING; i++) enter('running');
  enter('first');
  enter('second');
  assert.is(started.length, MAX_RUNNING);
  connection.ended();
  assert.equal(started.slice(MAX_RUNNING), ['first']);
  connection.ended();
  assert.equal(started.slice(MAX_RUNNING), ['first', 'second']);
});

test('a call that was cancelled while it waited takes no place', () => {
  const { connection, started, enter } = setUp();
  for (let i = 0; i < MAX_RUNNING; i++) enter('running');
  enter('cancelled', false);
  enter('next');
  connection.ended();
  assert.equal(started.slice(MAX_RUNNING), ['cancelled', 'next']);
});

test('thousands of waiting calls that end at once do not need a deep stack', () => {
  const { connection, enter } = setUp();
  for (let i = 0; i < MAX_RUNNING; i++) enter('running');
  let ended = 0;
  for (let i = 0; i < 15_000; i++) {
    connection.enter(() => {
      ended++;
      connection.ended();
      return true;
    });
  }
  connection.ended();
  assert.is(ended, 15_000);
});

test('when too many calls wait, on all connections together, only a call that need not wait is taken', () => {
  const waiting = { calls: 0 };
  const [busy, other] = [new Connection(new Socket(), waiting), new Connection(new Socket(), waiting)];
  const enter = (connection: Connection): boolean => connection.enter(() => true);
  for (let i = 0; i < MAX_RUNNING + 20_000; i++) assert.ok(enter(busy));
  assert.not(enter(busy));
  busy.ended();
  assert.ok(enter(busy));
  for (let i = 0; i < MAX_RUNNING; i++) assert.ok(enter(other));
  assert.not(enter(other));
});

test.run();
