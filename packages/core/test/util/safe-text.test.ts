import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { safeLines, safeText } from '../../src/util/safe-text.ts';

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  // Code units in any order: surrogates without their other half.
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 300 }).map((units) => String.fromCharCode(...units)),
  fc
    .array(fc.constantFrom('😀', 'a', '\n', '\0', '\ud83d', '\u202e', ' '), { maxLength: 300 })
    .map((all) => all.join('')),
);
const anyBound = fc.integer({ min: 1, max: 100 });
const holds = (property: (safe: string, text: string, maxChars: number) => void) =>
  fc.assert(
    fc.property(anyText, anyBound, (text, maxChars) => property(safeText(text, maxChars), text, maxChars)),
    { numRuns: 2_000 },
  );

test('any text becomes well-formed', () => holds((safe) => assert.ok(safe.isWellFormed())));

test('any text becomes one printable line', () => holds((safe) => assert.not.match(safe, /[\p{C}\p{Zl}\p{Zp}]/u)));

test('no result is longer than its bound', () => holds((safe, _text, maxChars) => assert.ok(safe.length <= maxChars)));

test('a safe text stays as it is', () => holds((safe, _text, maxChars) => assert.is(safeText(safe, maxChars), safe)));

test('what was cut is the beginning of the whole, and an ellipsis', () =>
  holds((safe, text) => {
    const whole = safeText(text, Infinity);
    assert.ok(safe === whole || (safe.endsWith('…') && whole.startsWith(safe.slice(0, -1))));
  }));

test('printable text is kept, in any script', () => {
  const text = 'Secret „Schlüssel“ 密钥 😀 was not found.';
  assert.is(safeText(text, 100), text);
});

test('control characters, line breaks and changes of direction become one space', () => {
  assert.is(safeText('\u001b[31mno\r\n\u202esuch\u0000\u0007 secret\n', 100), '[31mno such secret');
});

test('lines stay lines, each of them safe, and all of them together not longer than the bound', () => {
  assert.is(safeLines('one\r\n\n\u0007two \ud83d\n', 100), 'one\ntwo \ufffd');
  holds((_safe, text, maxChars) => {
    const safe = safeLines(text, maxChars);
    assert.ok(safe.length <= maxChars && safe.isWellFormed());
    assert.not.match(safe.replaceAll('\n', ''), /[\p{C}\p{Zl}\p{Zp}]/u);
  });
});

test('of a text of any length, no more than 16 times the result is looked at, and the rest shows as an ellipsis', () => {
  assert.is(safeText(`${' '.repeat(15)}a`, 1), 'a');
  assert.is(safeText(`${' '.repeat(16)}a`, 1), '…');
  assert.is(safeText(`ab${' '.repeat(158)}c`, 10), 'ab…');
  assert.is(safeText(`${' '.repeat(159)}😀`, 10), '…', 'half a character is not looked at');
  assert.is(safeLines(`ab\n${' '.repeat(200)}c`, 10), 'ab…');
});

test('a character of two code units is not cut in two', () => {
  assert.is(safeText('ab😀cd', 4), 'ab…');
  assert.is(safeText('ab😀cd', 5), 'ab😀…');
});

test.run();
