import { duplexPair } from 'node:stream';
import { settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostPipe } from '../../../../src/stores/pkcs11/token-host/host-pipe.ts';
import { encodeMessage } from '../../../../src/stores/pkcs11/token-host/message-pipe.ts';
import type { Ask } from '../../../../src/stores/pkcs11/token-host/protocol.ts';
import { UNWRAP } from '../../../support/token-hosts.ts';

const KEY: Ask = { op: 'key', token: {}, label: 'kek', keyId: 'key', mechanisms: ['rsa-oaep-sha256'] };
const INFO = {
  label: 't',
  manufacturer: 'm',
  serial: 's',
  model: 'x',
  pinFinalTry: false,
  pinLocked: false,
  loggedIn: true,
};
const RSA = { modulus: Buffer.alloc(256, 0xc5), exponent: Buffer.of(1, 0, 1) };
const ofKey = (publicKey: object, mechanism = 'rsa-oaep-sha256') => ({ mechanism, remarks: [], publicKey });

/** A pipe that has asked 1, and what becomes of the process's messages. */
async function answered(ask: Ask, ...messages: readonly unknown[]) {
  const [ours, theirs] = duplexPair();
  const outcome = { messages: [] as unknown[], violations: [] as string[] };
  const pipe = new HostPipe(ours, {
    onMessage: (message) => outcome.messages.push(message),
    onViolation: (reason) => outcome.violations.push(reason),
  });
  theirs.resume();
  pipe.send([{ id: 1, ask }]);
  for (const message of messages) theirs.write(encodeMessage(message));
  await settle();
  return outcome;
}

const reply = (value: unknown, changes: object = {}) => ({
  type: 'replies',
  replies: [{ id: 1, value, sessionsOpened: 0, ...changes }],
});

for (const [what, ask, value] of [
  ['a sealed local KEK', UNWRAP, Buffer.alloc(72)],
  ['a token', { op: 'token', token: {} }, INFO],
  ['an RSA key', KEY, ofKey(RSA)],
  ['keys', { op: 'list', token: {}, label: 'kek' }, ['a', 'b']],
] as const) {
  test(`${what} is an answer`, async () => {
    const { messages, violations } = await answered(ask, reply(value));
    assert.equal([messages.length, violations], [1, []]);
  });
}

for (const [what, ask, message] of [
  ['a text', UNWRAP, 'hello'],
  ['an unknown message', UNWRAP, { type: 'surprise' }],
  ['an answer to what was not asked', UNWRAP, reply(Buffer.alloc(72), { id: 2 })],
  ['a local KEK of another length', UNWRAP, reply(Buffer.alloc(73))],
  ['a text in place of bytes', UNWRAP, reply('x'.repeat(72))],
  ['value and failure', UNWRAP, reply(Buffer.alloc(72), { failure: { kind: 'refused', message: '' } })],
  ['a failure of an unknown kind', UNWRAP, reply(undefined, { failure: { kind: 'odd', message: '' } })],
  ['a token without a label', { op: 'token', token: {} }, reply({ ...INFO, label: undefined })],
  ['a mechanism that was not asked about', KEY, reply(ofKey(RSA, 'rsa-oaep-sha1'))],
  ['an RSA key that is too small', KEY, reply(ofKey({ ...RSA, modulus: Buffer.alloc(128, 0xc5) }))],
  ['an RSA key that leaves everything in the clear', KEY, reply(ofKey({ ...RSA, exponent: Buffer.of(1) }))],
  [
    'more keys than are listed',
    { op: 'list', token: {}, label: 'kek' },
    reply(Array.from({ length: 10_001 }, () => 'k')),
  ],
] as const) {
  test(`${what} is reported, and nothing after it is read`, async () => {
    const { messages, violations } = await answered(ask, message, { type: 'started' });
    assert.equal(messages, []);
    assert.is(violations.length, 1);
    assert.match(violations[0]!, /^it sent what no token host sends: /);
  });
}

test('a second answer to the same question is reported', async () => {
  const { messages, violations } = await answered(UNWRAP, reply(Buffer.alloc(72)), reply(Buffer.alloc(72)));
  assert.equal([messages.length, violations.length], [1, 1]);
});

test.run();
