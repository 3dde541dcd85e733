import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { integerField, integerTag, MalformedMessage, Reader } from '../../src/util/protobuf.ts';

const ten = (last: number) => Buffer.from([...Array<number>(9).fill(0xff), last]);

test('an integer field is read as it was written', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 15 }), fc.maxSafeNat(), (field, value) => {
      const reader = new Reader(integerField(field, value));
      assert.is(reader.tag(), integerTag(field));
      assert.is(reader.integer(), value);
      assert.ok(reader.done);
    }),
  );
});

test('an integer beyond 2^53 - 1 is refused and not rounded', () => {
  assert.throws(
    () => new Reader(ten(1)).integer(),
    (error: unknown) => error instanceof MalformedMessage,
  );
});

test('a uint64 keeps all its bits', () => {
  assert.is(new Reader(ten(1)).uint64(), 2n ** 64n - 1n);
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
      const bytes: number[] = [];
      for (let rest = value; ; rest >>= 7n) {
        bytes.push(Number(rest & 0x7fn) | (rest >= 0x80n ? 0x80 : 0));
        if (rest < 0x80n) break;
      }
      assert.is(new Reader(Buffer.from(bytes)).uint64(), value);
    }),
  );
});

test('a uint64 of more than 64 bits, and one that is cut off, are refused', () => {
  for (const bytes of [ten(2), ten(0x81), Buffer.from([0x80])]) {
    assert.throws(
      () => new Reader(bytes).uint64(),
      (error: unknown) => error instanceof MalformedMessage,
    );
  }
});

test.run();
