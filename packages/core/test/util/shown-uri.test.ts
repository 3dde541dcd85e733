import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { shownUri } from '../../src/util/shown-uri.ts';

for (const [given, shown] of [
  ['file:keys', '"file:keys"'],
  ['PKCS11:token=a;object=b?pin-value=hunter2', '"PKCS11:token=a;object=b?..."'],
  ['pkcs11:token=a;pin-value=hunter2;object=b', '"pkcs11:token=a;pin-value=...;object=b"'],
  ['barbican:https://user:hunter2@host/x', '"barbican:https://...@host/x"'],
  ['hunter2', 'a text of 7 characters'],
] as const) {
  test(`${given} is shown as ${shown}`, () => assert.is(shownUri(given), shown));
}

test('a query is never shown, whatever is around it', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (before, after) => {
      assert.not.match(shownUri(`scheme:${before.replaceAll('?', '')}?a=secret-of-mine${after}`), 'secret-of-mine');
    }),
  );
});

test.run();
