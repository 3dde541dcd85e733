import { assertNoSecret } from '@teapot-kms/testing';
import { format, inspect } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { newKeyBytes } from '../support/keys.ts';

const bytes = newKeyBytes();
const secret = new SecretBytes(Buffer.from(bytes));
const SHOWN = '[secret 32 bytes]';

test('it prints as its length, however it is printed', () => {
  // eslint-disable-next-line @typescript-eslint/restrict-template-expressions -- the mistake that must do no harm
  assert.is(`${secret}`, SHOWN);
  assert.is(String(secret), SHOWN);
  assert.is(inspect(secret), SHOWN);
  assert.is(format('%s %o %j', secret, secret, secret), `${SHOWN} ${SHOWN} "${SHOWN}"`);
  assert.is(JSON.stringify({ key: secret }), `{"key":"${SHOWN}"}`);
  assert.is(new Error(String(secret)).message, SHOWN);
});

test('it is not seen in anything that holds it', () => {
  for (const holder of [secret, { deep: { list: [secret] } }, new Map([['key', secret]])])
    assertNoSecret(holder, bytes);
});

test('a copy of its fields holds nothing', () => {
  assert.equal(Object.assign({}, secret), {});
  assert.equal(Object.getOwnPropertyNames(secret), []);
});

test('it gives its own bytes, not a copy, and wipes them', () => {
  const buffer = Buffer.from(bytes);
  const own = new SecretBytes(buffer);
  assert.is(own.expose(), buffer);
  assert.is(own.length, 32);
  own.wipe();
  assert.equal(buffer, Buffer.alloc(32));
  assert.is(own.length, 32);
});

test('a search for secrets finds one in every form that a log could have', () => {
  const forms: unknown[] = [bytes, bytes.toString('hex'), bytes.toString('base64'), { a: [bytes] }, [...bytes]];
  forms.push(new Error('x', { cause: new Error(bytes.toString('base64url')) }));
  for (const form of forms) assert.throws(() => assertNoSecret(form, bytes), /a secret is to be seen/);
});

test.run();
