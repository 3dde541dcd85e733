import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { safeText } from '../../src/util/safe-text.ts';

test('printable text stays as it is', () => {
  assert.is(safeText('Schlüssel 🔑 fehlt'), 'Schlüssel 🔑 fehlt');
});

test('control characters and line breaks become a space', () => {
  assert.is(safeText('\u001b[31mred\u001b[0m\r\nnext\u2028line'), '[31mred [0m next line');
});

test('a character is never cut in two', () => {
  assert.is(safeText('ab🔑', 3), 'ab...');
});

test('any text becomes one line of well-formed text of the given length', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.nat(50), (text, maxLength) => {
      const cut = text.slice(0, maxLength) + '\ud83d';
      for (const one of [text, cut]) {
        const safe = safeText(one, maxLength);
        assert.ok(safe.isWellFormed());
        assert.ok(safe.length <= maxLength + 3);
        assert.not.match(safe, /[\u0000-\u001f\u007f-\u009f]/);  
        encodeURI(safe);
      }
    }),
  );
});

test.run();
