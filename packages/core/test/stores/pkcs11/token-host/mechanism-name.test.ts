import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  isRsa,
  mechanismNames,
  parseWrappedForm,
  wrappedForm,
} from '../../../../src/stores/pkcs11/token-host/mechanism-name.ts';
import type { MechanismName } from '../../../../src/stores/pkcs11/token-host/mechanism-name.ts';

/** As in ADR 0007. These bytes are in etcd: a change here is a loss of data. */
const CODES: readonly (readonly [MechanismName, number])[] = [
  ['aes-gcm', 1],
  ['aes-key-wrap-pad', 2],
  ['aes-key-wrap', 3],
  ['rsa-oaep-sha256', 4],
  ['rsa-oaep-sha1', 5],
];

test('the order of preference and the codes are those of ADR 0007', () => {
  assert.equal(
    mechanismNames,
    CODES.map(([name]) => name),
  );
  for (const [name, code] of CODES) assert.is(wrappedForm(name, Buffer.alloc(1))[0], code);
});

test('a wrapped form is the code and the token’s bytes, and parses to both', () => {
  for (const [mechanism] of CODES) {
    const blob = randomBytes(40);
    const wrapped = wrappedForm(mechanism, blob);
    assert.is(wrapped.length, 41);
    assert.equal(parseWrappedForm(wrapped), { mechanism, blob });
  }
});

test('a code that was never given is no wrapped form', () => {
  const given = new Set(CODES.map(([, code]) => code));
  for (let code = 0; code < 256; code++) {
    assert.is(parseWrappedForm(Buffer.of(code, 1, 2, 3)) !== undefined, given.has(code), String(code));
  }
});

test('no bytes are no wrapped form', () => {
  assert.is(parseWrappedForm(Buffer.alloc(0)), undefined);
});

test('a code with nothing behind it parses to nothing, which no mechanism takes', () => {
  assert.is(parseWrappedForm(Buffer.of(1))?.blob.length, 0);
});

test('RSA is RSA', () => {
  assert.equal(mechanismNames.filter(isRsa), ['rsa-oaep-sha256', 'rsa-oaep-sha1']);
});

test.run();
