import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FairQueue } from '../../../../src/stores/pkcs11/token-host/fair-queue.ts';

function drainByShift<T>(queue: FairQueue<T>): T[] {
  const all: T[] = [];
  for (let item = queue.shift(); item !== undefined; item = queue.shift()) all.push(item);
  return all;
}

test('what one owner asks for comes in the order in which it was asked', () => {
  const queue = new FairQueue<number>();
  const owner = {};
  for (const item of [1, 2, 3]) queue.push(owner, item);
  assert.equal(drainByShift(queue), [1, 2, 3]);
});

test('owners take turns, however much one of them asks for', () => {
  const queue = new FairQueue<string>();
  const [much, little, late] = [{}, {}, {}];
  for (let i = 0; i < 4; i++) queue.push(much, `much ${i}`);
  queue.push(little, 'little 0');
  assert.is(queue.shift(), 'much 0');
  queue.push(late, 'late 0');
  assert.equal(drainByShift(queue), ['little 0', 'much 1', 'late 0', 'much 2', 'much 3']);
});

test('an empty queue has nothing', () => {
  const queue = new FairQueue<number>();
  assert.is(queue.shift(), undefined);
  assert.is(queue.length, 0);
});

test('drain takes everything out, and the queue goes on', () => {
  const queue = new FairQueue<number>();
  const [a, b] = [{}, {}];
  for (const item of [1, 2]) queue.push(a, item);
  queue.push(b, 3);
  assert.equal(
    queue.drain().sort((x, y) => x - y),
    [1, 2, 3],
  );
  assert.is(queue.length, 0);
  queue.push(a, 4);
  assert.is(queue.shift(), 4);
});

test('property: nothing is lost, doubled or overtaken, and nobody waits for two items of another', () => {
  const owners = [{}, {}, {}];
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat(2), { nil: undefined })), (steps) => {
      const queue = new FairQueue<readonly [owner: number, index: number]>();
      const waiting: number[] = [0, 0, 0];
      const next = [0, 0, 0];
      const expected = [0, 0, 0];
      const passed = [new Map<number, number>(), new Map<number, number>(), new Map<number, number>()];
      const take = () => {
        const item = queue.shift();
        if (item === undefined) {
          assert.equal(waiting, [0, 0, 0]);
          return;
        }
        const [owner, index] = item;
        assert.is(index, expected[owner]!++);
        waiting[owner]!--;
        passed[owner]!.clear();
        for (const [other, count] of waiting.entries()) {
          if (other === owner || count === 0) continue;
          const times = (passed[other]!.get(owner) ?? 0) + 1;
          assert.ok(times <= 1, 'an owner was served twice while another waited');
          passed[other]!.set(owner, times);
        }
      };
      for (const owner of steps) {
        if (owner === undefined) take();
        else {
          queue.push(owners[owner]!, [owner, next[owner]!++]);
          waiting[owner]!++;
        }
        assert.is(
          queue.length,
          waiting.reduce((a, b) => a + b),
        );
      }
      while (queue.length > 0) take();
    }),
  );
});

test.run();
