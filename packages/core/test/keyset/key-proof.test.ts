import { assertNoSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KeyProof } from '../../src/keyset/key-proof.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';

const contextId = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
const bytes = Buffer.alloc(32, 0x42);
const proof = (key = bytes, context = contextId, id = 'one') => new KeyProof(new SecretBytes(key), context, id);

test('a check value is the same for the same key, context and id, and another one for each other', () => {
  const { check } = proof();
  assert.match(check, /^[0-9a-f]{32}$/);
  assert.ok(proof().matches(check));
  for (const other of [proof(randomBytes(32)), proof(bytes, randomBytes(16)), proof(bytes, contextId, 'two')]) {
    assert.not(other.matches(check));
  }
});

test('a check value of another length does not match', () => {
  for (const check of ['', proof().check.slice(2), `${proof().check}00`, 'not hexadecimal']) {
    assert.not(proof().matches(check));
  }
});

test('a report is verified with the same key, and with no other', () => {
  const mac = proof().mac('body');
  assert.ok(proof().verifies('body', mac));
  assert.not(proof().verifies('another body', mac));
  assert.not(proof(randomBytes(32)).verifies('body', mac));
  assert.not(proof(bytes, contextId, 'two').verifies('body', mac));
  assert.not(proof().verifies('body', ''));
});

test('the key is neither kept nor wiped', () => {
  const key = new SecretBytes(randomBytes(32));
  const copy = Buffer.from(key.expose());
  const made = new KeyProof(key, contextId, 'one');
  assert.equal(key.expose(), copy);
  assertNoSecret(made, copy);
});

test.run();
