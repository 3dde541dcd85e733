import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CallsUnderWay } from '../../../../src/stores/pkcs11/token-host/calls-under-way.ts';

const LIMIT_MS = 200;

interface Call {
  readonly timeoutMs?: number;
}

function underWay(threads: number, count: number, call: Call = {}) {
  const calls = new CallsUnderWay<Call>(threads, LIMIT_MS);
  const ids = Array.from({ length: count }, () => calls.add(call));
  return { calls, ids };
}

test('a call hangs when it is overdue at two looks in a row', () => {
  const { calls, ids } = underWay(1, 1);
  assert.not(calls.hung(0));
  assert.not(calls.hung(LIMIT_MS));
  assert.not(calls.hung(LIMIT_MS + 1));
  assert.ok(calls.hung(LIMIT_MS + 2));
  calls.take(ids[0]!);
  assert.not(calls.hung(LIMIT_MS + 3));
});

test('a call whose answer comes after the first look does not hang, nor does the next one', () => {
  const { calls, ids } = underWay(1, 2);
  calls.hung(0);
  assert.not(calls.hung(1_000));
  calls.take(ids[0]!);
  assert.not(calls.hung(1_001));
  assert.not(calls.hung(1_001 + LIMIT_MS));
});

test('a call with a time of its own has that time', () => {
  const { calls } = underWay(1, 1, { timeoutMs: 1_000 });
  for (const now of [0, 999, 1_000, 1_001]) assert.not(calls.hung(now));
  assert.ok(calls.hung(1_002));
});

test('the time of a call begins when it has a thread', () => {
  const { calls, ids } = underWay(1, 3);
  calls.hung(0);
  calls.take(ids[0]!);
  assert.not(calls.hung(1_000));
  assert.not(calls.hung(1_001));
});

test('what was overdue in one process does not count for the next', () => {
  const { calls } = underWay(1, 1);
  calls.hung(0);
  calls.hung(1_000);
  assert.is(calls.drain().length, 1);
  assert.is(calls.size, 0);
  calls.add({});
  calls.hung(1_001);
  assert.not(calls.hung(2_000));
});

test.run();
