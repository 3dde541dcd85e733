import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { directoryOfUri, uriOfDirectory } from '../../src/util/directory-uri.ts';

test('a directory comes back from its URI, whatever it is called', () => {
  const name = fc
    .string({ unit: 'grapheme', minLength: 1 })
    .filter((text) => !/[\0/]/.test(text) && !/^\.\.?$/.test(text));
  fc.assert(
    fc.property(fc.array(name, { minLength: 1, maxLength: 3 }), (names) => {
      const directory = `/${names.join('/')}`;
      assert.is(directoryOfUri(uriOfDirectory('file', directory)), directory);
    }),
  );
});

test('any text is an absolute directory without ".." or none', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const directory = directoryOfUri(`file:${text}`);
      assert.ok(directory === undefined || /^\/(?!.*\/\.\.?(\/|$))/s.test(directory), directory);
    }),
  );
});

test.run();
