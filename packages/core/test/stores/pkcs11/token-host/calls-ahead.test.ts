import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { callsAhead } from '../../../../src/stores/pkcs11/token-host/calls-ahead.ts';

test('a thread has as many calls before it as are done in 80 ms, between 2 and 16', () => {
  assert.equal([0, 0.05, 5, 8, 20, 40, 200].map(callsAhead), [16, 16, 16, 10, 4, 2, 2]);
});

test('of a token that nobody knows yet it has two', () => {
  assert.is(callsAhead(undefined), 2);
});

test.run();
