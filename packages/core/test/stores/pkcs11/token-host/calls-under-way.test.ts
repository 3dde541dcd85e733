import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CallsUnderWay } from '../../../../src/stores/pkcs11/token-host/calls-under-way.ts';

const LIMIT_MS = 200;
const LATER_MS = 300;

interface Call {
  readonly name: number;
  readonly timeoutMs?: number;
}

function underWay(count: number) {
  const calls = new CallsUnderWay<Call>(LIMIT_MS);
  const ids = Array.from({ length: count }, (_, name) => calls.add({ name }, 'unwrap'));
  return { calls, ids };
}

/** Looks twice, as the first look could be the fault of who looks. */
const hangs = (calls: CallsUnderWay<Call>): boolean => {
  calls.hung();
  return calls.hung();
};

test('a call hangs when it takes longer than it may, at the second look', async () => {
  const { calls, ids } = underWay(1);
  calls.startClocks(1);
  assert.not(hangs(calls));
  await sleep(LATER_MS);
  assert.not(calls.hung());
  assert.ok(calls.hung());
  calls.take(ids[0]!);
  assert.not(hangs(calls));
});

test('a look at one process does not count for the next', async () => {
  const { calls } = underWay(1);
  calls.startClocks(1);
  await sleep(LATER_MS);
  calls.hung();
  calls.takeAll();
  calls.add({ name: 1 }, 'unwrap');
  calls.startClocks(1);
  await sleep(LATER_MS);
  assert.not(calls.hung());
});

test('who waits for a thread does not hang', async () => {
  const { calls, ids } = underWay(3);
  calls.startClocks(1);
  calls.take(ids[0]!);
  await sleep(LATER_MS);
  assert.not(hangs(calls));
});

test('who was put back waits for a thread again', async () => {
  const { calls, ids } = underWay(3);
  calls.startClocks(3);
  calls.take(ids[0]!);
  await sleep(LATER_MS);
  calls.putBack(ids);
  calls.startClocks(1);
  assert.not(hangs(calls));
});

test.run();
