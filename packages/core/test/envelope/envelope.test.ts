import { assertNoSecret, rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../src/envelope/codec.ts';
import { EnvelopeKey } from '../../src/envelope/envelope.ts';
import { newKeyId } from '../../src/envelope/key-id.ts';
import { MAX_PLAINTEXT_BYTES } from '../../src/envelope/limits.ts';
import { KmsError } from '../../src/errors.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { figure } from '../support/figure.ts';
import { makeKey, newKeyBytes } from '../support/keys.ts';

const REJECTS = new Set([
  'ERR_KMS_LIMIT_EXCEEDED',
  'ERR_KMS_ENVELOPE_MALFORMED',
  'ERR_KMS_ENVELOPE_VERSION',
  'ERR_KMS_AUTHENTICATION_FAILED',
]);

/** Fails unless `bytes` are refused with one of the spec's codes. */
function assertRefused(key: EnvelopeKey, bytes: Buffer, what: string): void {
  try {
    key.open(decodeEnvelope(bytes));
  } catch (error) {
    if (error instanceof KmsError && REJECTS.has(error.code)) return;
    throw error;
  }
  assert.unreachable(`${what} was opened`);
}

test('what is sealed is opened, of every length there is', () => {
  const key = makeKey();
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 2_000 }), (plaintext) => {
      assert.equal(key.open(decodeEnvelope(key.seal(plaintext))), Buffer.from(plaintext));
    }),
  );
  key.destroy();
});

test('the longest plaintext is sealed and opened, and fits with key id and wrapped form at their longest', () => {
  const key = makeKey({ keyId: 'k'.repeat(64), wrapped: randomBytes(512) });
  const plaintext = randomBytes(MAX_PLAINTEXT_BYTES);
  const envelope = key.seal(plaintext);
  assert.is(envelope.length, 65_535);
  assert.equal(key.open(decodeEnvelope(envelope)), plaintext);
});

test('an empty plaintext and one that is too long are not sealed', async () => {
  const key = makeKey();
  await rejectsWithCode(() => key.seal(Buffer.alloc(0)), 'ERR_KMS_LIMIT_EXCEEDED');
  await rejectsWithCode(() => key.seal(Buffer.alloc(MAX_PLAINTEXT_BYTES + 1)), 'ERR_KMS_LIMIT_EXCEEDED');
});

test('two envelopes of the same plaintext differ in nonce, ciphertext and tag', () => {
  const key = makeKey();
  const [a, b] = [decodeEnvelope(key.seal(Buffer.alloc(32))), decodeEnvelope(key.seal(Buffer.alloc(32)))];
  assert.not.equal(a.nonce, b.nonce);
  assert.not.equal(a.sealed.subarray(0, 32), b.sealed.subarray(0, 32));
  assert.not.equal(a.sealed.subarray(32), b.sealed.subarray(32));
});

for (const wrapped of [undefined, Buffer.alloc(60, 0x77)]) {
  const kind = wrapped ? 'with a wrapped local KEK' : 'without one';
  test(`an envelope ${kind} is refused with any bit flipped`, () => {
    const key = makeKey(wrapped ? { wrapped } : {});
    const envelope = key.seal(Buffer.from('a DEK seed of thirty-two bytes..'));
    for (let bit = 0; bit < 8 * envelope.length; bit++) {
      const changed = Buffer.from(envelope);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      assertRefused(key, changed, `bit ${String(bit)}`);
    }
  });

  test(`an envelope ${kind} is refused with any byte zeroed, doubled or left out`, () => {
    const key = makeKey(wrapped ? { wrapped } : {});
    const envelope = key.seal(Buffer.from('ping'));
    for (let at = 0; at < envelope.length; at++) {
      const [before, byte, after] = [envelope.subarray(0, at), envelope[at]!, envelope.subarray(at + 1)];
      if (byte !== 0) assertRefused(key, Buffer.concat([before, Buffer.from([0]), after]), `zero at ${String(at)}`);
      assertRefused(key, Buffer.concat([before, Buffer.from([byte, byte]), after]), `doubled at ${String(at)}`);
      assertRefused(key, Buffer.concat([before, after]), `left out at ${String(at)}`);
    }
  });

  test(`an envelope ${kind} is refused cut off anywhere, and with anything behind it`, () => {
    const key = makeKey(wrapped ? { wrapped } : {});
    const envelope = key.seal(Buffer.from('ping'));
    for (let length = 0; length < envelope.length; length++) {
      assertRefused(key, envelope.subarray(0, length), `${String(length)} bytes`);
    }
    for (let more = 1; more <= 64; more++) {
      assertRefused(key, Buffer.concat([envelope, Buffer.alloc(more)]), `${String(more)} more bytes`);
    }
  });
}

test('an envelope opens under no other key, id, context or wrapped form', async () => {
  const [bytes, contextId] = [newKeyBytes(), randomBytes(16)];
  const envelope = decodeEnvelope(makeKey({ bytes, contextId }).seal(Buffer.from('x')));
  assert.is(makeKey({ bytes, contextId }).open(envelope).toString(), 'x');
  const others = [
    makeKey({ contextId }),
    makeKey({ bytes, contextId, keyId: 'other' }),
    makeKey({ bytes, contextId: randomBytes(16) }),
    makeKey({ bytes, contextId, wrapped: Buffer.from('w') }),
  ];
  for (const other of others) await rejectsWithCode(() => other.open(envelope), 'ERR_KMS_AUTHENTICATION_FAILED');
});

test('parts of two envelopes never make a third', () => {
  const key = makeKey();
  const [a, b] = [key.seal(Buffer.from('first')), key.seal(Buffer.from('other'))];
  for (let cut = 1; cut < a.length; cut++) {
    const mixed = Buffer.concat([a.subarray(0, cut), b.subarray(cut)]);
    if (!mixed.equals(a) && !mixed.equals(b)) assertRefused(key, mixed, `cut at ${String(cut)}`);
  }
});

test('a destroyed key refuses both and can be destroyed again', async () => {
  const key = makeKey();
  const envelope = decodeEnvelope(key.seal(Buffer.from('x')));
  key.destroy();
  key.destroy();
  await rejectsWithCode(() => key.seal(Buffer.from('x')), 'ERR_KMS_CLOSED');
  await rejectsWithCode(() => key.open(envelope), 'ERR_KMS_CLOSED');
});

test('the key that was given is wiped, also where there is something wrong with the rest', async () => {
  const contextId = Buffer.alloc(16);
  const good = randomBytes(32);
  new EnvelopeKey({ key: new SecretBytes(good), keyId: 'k', contextId }).destroy();
  assert.equal(good, Buffer.alloc(32));
  const unused = randomBytes(32);
  const make = () => new EnvelopeKey({ key: new SecretBytes(unused), keyId: '', contextId });
  await rejectsWithCode(make, 'ERR_KMS_LIMIT_EXCEEDED');
  assert.equal(unused, Buffer.alloc(32));
});

test('a key is not seen in whatever is printed', () => {
  const bytes = newKeyBytes();
  const key = makeKey({ bytes });
  assertNoSecret(key, bytes);
  assertNoSecret(decodeEnvelope(key.seal(Buffer.from('x'))), bytes);
});

for (const [kind, wrappedBytes, most] of [
  ['KEK in memory', 0, 160],
  ['60-byte wrapped local KEK', 60, 256],
  ['384-byte wrapped local KEK (RSA-3072)', 384, 560],
] as const) {
  test(`a 32-byte seed with a ${kind} takes at most ${String(most)} bytes with its key_id`, () => {
    const keyId = newKeyId();
    const key = makeKey({ keyId, ...(wrappedBytes > 0 ? { wrapped: Buffer.alloc(wrappedBytes) } : {}) });
    // Annotations: none are sent.
    const bytes = key.seal(randomBytes(32)).length + keyId.length;
    figure(`ciphertext + key_id + annotations of a 32-byte seed, ${kind}: ${String(bytes)} bytes`);
    assert.ok(bytes <= most);
  });
}

test.run();
