import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { describe } from '../../src/cli/status.ts';
import { describedInstance } from '../support/described-instance.ts';

const keyset = { contextId: 'ab'.repeat(16), generation: 3, hash: 'cd'.repeat(32) };
const key = (id: string, state: string, verified: boolean) => ({ id, state, verified, decrypts: 0 });
const text = describe(
  describedInstance({
    primary: 'a',
    keyset,
    decryptOnly: [
      { uri: 'file:/old', keyset: { ...keyset, contextId: 'ef'.repeat(16), generation: 9 } },
      { uri: 'file:/gone', keyset: undefined },
    ],
    keys: [key('a', 'promoted', true), key('b', 'promoted', false), key('c', 'retired', false)],
  }),
);

test('status names the keyset and its generation, and each store that only decrypts', () => {
  assert.match(text, new RegExp(`^keyset   ${'ab'.repeat(16)}, generation 3$`, 'm'));
  assert.match(text, new RegExp(`^decrypts file:/old, keyset ${'ef'.repeat(16)}, generation 9$`, 'm'));
  assert.match(text, /^decrypts file:\/gone, keyset not loaded$/m);
});

test('status marks the keys that nothing has verified', () => {
  assert.match(text, /^a +primary +0$/m);
  assert.match(text, /^b +decrypt-only, unverified +0$/m);
  assert.match(text, /^c +retired +0$/m);
});

test.run();
