import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { associatedData, encodeHeader } from '../../src/envelope/codec.ts';

const hexDigits = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const keyId = fc.stringMatching(/^[a-z0-9]{1,6}$/);
const wrapped = fc.uint8Array({ maxLength: 6 });

test('it is the label, the context id and the header', () => {
  const header = encodeHeader('k', Buffer.from([9]));
  const context = Buffer.alloc(16, 0xaa);
  const expected = Buffer.concat([Buffer.from('teapot-kms/envelope/v1'), context, header]);
  assert.equal(associatedData(header, context), expected);
});

test('two different inputs never give the same bytes', () => {
  const input = fc.record({ contextId: hexDigits(16), keyId, wrapped });
  const encode = (one: { contextId: Uint8Array; keyId: string; wrapped: Uint8Array }) =>
    associatedData(encodeHeader(one.keyId, Buffer.from(one.wrapped)), Buffer.from(one.contextId));
  fc.assert(
    fc.property(input, input, (a, b) => {
      const same =
        a.keyId === b.keyId && Buffer.from(a.wrapped).equals(b.wrapped) && Buffer.from(a.contextId).equals(b.contextId);
      assert.is(encode(a).equals(encode(b)), same);
    }),
  );
});

test('bytes moved from the key id to the wrapped form give other bytes', () => {
  const context = Buffer.alloc(16);
  const seen = new Set<string>();
  const text = 'abcdef';
  for (let cut = 1; cut <= text.length; cut++) {
    const header = encodeHeader(text.slice(0, cut), Buffer.from(text.slice(cut)));
    seen.add(associatedData(header, context).toString('hex'));
  }
  assert.is(seen.size, text.length);
});

for (const size of [0, 15, 17, 32]) {
  test(`a context id of ${String(size)} bytes is a mistake of the caller`, () => {
    assert.throws(() => associatedData(Buffer.alloc(8), Buffer.alloc(size)), /16 bytes/);
  });
}

test('it keeps no memory but its own alive: a key holds it for as long as the key lives', () => {
  const data = associatedData(encodeHeader('abcdefghijklmnopqrstuvwxyz', Buffer.alloc(0)), Buffer.alloc(16));
  assert.is(data.buffer.byteLength, data.length);
});

test.run();
