import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../src/errors.ts';

test('a KmsError is kept as it is, whatever code is offered', () => {
  const error = new KmsError('ERR_KMS_CLOSED', 'x');
  assert.is(KmsError.from(error, 'ERR_KMS_KEY_GONE', 'y'), error);
});

test('anything else becomes the cause of one', () => {
  for (const cause of [new TypeError('inner'), 'a string', undefined]) {
    const error = KmsError.from(cause, 'ERR_KMS_STORE_UNAVAILABLE', 'outer');
    assert.is(error.code, 'ERR_KMS_STORE_UNAVAILABLE');
    assert.is(error.message, 'outer');
    assert.is(error.cause, cause);
    assert.is(error.name, 'KmsError');
  }
});

test('whatever text an error is made of, what it says is well-formed, printable and bounded', () => {
  const anyText = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 500 }),
    fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 500 }).map((units) => String.fromCharCode(...units)),
    fc.constantFrom('😀', '\ud83d', '\r\n').map((piece) => piece.repeat(10_000)),
  );
  fc.assert(
    fc.property(anyText, (text) => {
      const { message, remedy } = new KmsError('ERR_KMS_CLOSED', text, { remedy: text });
      for (const said of [message, remedy!]) {
        assert.ok(said.isWellFormed() && said.length <= 8_000);
        assert.not.match(said.replaceAll('\n', ''), /[\p{C}\p{Zl}\p{Zp}]/u);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('the problems of a file stay one a line', () => {
  assert.is(new KmsError('ERR_KMS_KEYSET_INVALID', 'f:1: a\nf:2: b').message, 'f:1: a\nf:2: b');
});

test.run();
