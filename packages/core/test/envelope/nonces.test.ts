import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { takeNonce } from '../../src/envelope/nonces.ts';

test('no nonce is given twice', () => {
  const seen = new Set<string>();
  const out = Buffer.alloc(24);
  for (let i = 0; i < 50_000; i++) {
    takeNonce(out, 0);
    seen.add(out.toString('latin1'));
  }
  assert.is(seen.size, 50_000);
});

test('each half of a nonce is random by itself', () => {
  const halves = [new Set<string>(), new Set<string>()];
  const out = Buffer.alloc(24);
  for (let i = 0; i < 10_000; i++) {
    takeNonce(out, 0);
    halves[0]!.add(out.toString('latin1', 0, 12));
    halves[1]!.add(out.toString('latin1', 12));
  }
  assert.equal([halves[0]!.size, halves[1]!.size], [10_000, 10_000]);
});

test('a nonce takes the place it is given and no more', () => {
  const out = Buffer.alloc(40);
  takeNonce(out, 8);
  assert.equal(out.subarray(0, 8), Buffer.alloc(8));
  assert.equal(out.subarray(32), Buffer.alloc(8));
  assert.not.equal(out.subarray(8, 32), Buffer.alloc(24));
});

test('a nonce of another length takes just that', () => {
  const out = Buffer.alloc(40);
  takeNonce(out, 8, 12);
  assert.equal([out.subarray(0, 8), out.subarray(20)], [Buffer.alloc(8), Buffer.alloc(20)]);
  assert.not.equal(out.subarray(8, 20), Buffer.alloc(12));
});

test('each nonce is a read of its own: bytes that were fetched in advance are the same in a cloned machine', () => {
  const out = Buffer.alloc(24);
  takeNonce(out, 0);
  const before = readCalls();
  for (let i = 0; i < 1_000; i++) takeNonce(out, 0);
  assert.ok(readCalls() - before >= 1_000, `${readCalls() - before} reads`);
});

/** How often this process has read from a file so far. */
function readCalls(): number {
  return Number(/^syscr: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);
}

test.run();
