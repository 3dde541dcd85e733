import { rejectsWithCode } from '@teapot-kms/testing';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope, encodeHeader } from '../../src/envelope/codec.ts';
import { KmsError } from '../../src/errors.ts';
import { fuzz, fuzzRuns } from '../support/fuzz.ts';

const REJECTS = ['ERR_KMS_LIMIT_EXCEEDED', 'ERR_KMS_ENVELOPE_MALFORMED', 'ERR_KMS_ENVELOPE_VERSION'];

/** An envelope with this header; only the AEAD could tell that it was never sealed. */
const withBody = (header: Buffer, bodyBytes = 24 + 1 + 16) => Buffer.concat([header, Buffer.alloc(bodyBytes, 0x5a)]);

test('decode gives back what encode was given', () => {
  const keyIds = fc.stringMatching(/^[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?$/);
  const wraps = fc.uint8Array({ maxLength: 512 });
  fc.assert(
    fc.property(keyIds, wraps, fc.integer({ min: 41, max: 1_000 }), (keyId, wrapped, bodyBytes) => {
      const header = encodeHeader(keyId, Buffer.from(wrapped));
      const envelope = decodeEnvelope(withBody(header, bodyBytes));
      assert.is(envelope.keyId, keyId);
      assert.equal(envelope.wrapped, Buffer.from(wrapped));
      assert.equal(envelope.header, header);
      assert.is(envelope.nonce.length, 24);
      assert.is(envelope.sealed.length, bodyBytes - 24);
    }),
  );
});

test('an encoded header that decodes is the header of the spec', () => {
  const header = encodeHeader('ab', Buffer.from([1, 2, 3]));
  assert.is(header.toString('hex'), '544b0101' + '02' + '6162' + '0003' + '010203');
});

test('the longest envelope decodes, a longer one does not', async () => {
  const header = encodeHeader('k', Buffer.alloc(0));
  decodeEnvelope(withBody(header, 65_535 - header.length));
  await rejectsWithCode(() => decodeEnvelope(withBody(header, 65_536 - header.length)), 'ERR_KMS_LIMIT_EXCEEDED');
});

for (const keyId of ['', 'a'.repeat(65), 'UPPER', 'a b']) {
  test(`no header is made for the key id ${JSON.stringify(keyId)}`, async () => {
    await rejectsWithCode(() => encodeHeader(keyId, Buffer.alloc(0)), 'ERR_KMS_LIMIT_EXCEEDED');
  });
}

test('a wrapped length over its cap is refused, whether or not so many bytes are there', async () => {
  const header = encodeHeader('k', Buffer.alloc(512));
  decodeEnvelope(withBody(header));
  for (const length of [513, 514, 1_024, 65_535]) {
    header.writeUInt16BE(length, 6);
    for (const bodyBytes of [41, 41 + length - 512]) {
      const code = 'ERR_KMS_LIMIT_EXCEEDED';
      const envelope = withBody(header, Math.min(bodyBytes, 65_535 - header.length));
      await rejectsWithCode(() => decodeEnvelope(envelope), code);
    }
  }
});

test('no header is made for a wrapped local KEK over its cap', async () => {
  encodeHeader('k', Buffer.alloc(512));
  await rejectsWithCode(() => encodeHeader('k', Buffer.alloc(513)), 'ERR_KMS_LIMIT_EXCEEDED');
});

test('each first byte but ours is malformed, each other version and suite unknown', async () => {
  const good = withBody(encodeHeader('k', Buffer.alloc(0)));
  for (let value = 0; value < 256; value++) {
    for (const [at, code] of [
      [0, 'ERR_KMS_ENVELOPE_MALFORMED'],
      [1, 'ERR_KMS_ENVELOPE_MALFORMED'],
      [2, 'ERR_KMS_ENVELOPE_VERSION'],
      [3, 'ERR_KMS_ENVELOPE_VERSION'],
    ] as const) {
      if (good[at] === value) continue;
      const changed = Buffer.from(good);
      changed[at] = value;
      await rejectsWithCode(() => decodeEnvelope(changed), code);
    }
  }
});

test('an error says nothing of what was in the ciphertext', () => {
  const envelope = withBody(encodeHeader('k', Buffer.alloc(0)));
  envelope.write('SECRET', 5, 'latin1');
  try {
    decodeEnvelope(envelope);
    assert.unreachable();
  } catch (error) {
    assert.not.match((error as Error).message, /SECRET/);
  }
});

test('whatever the bytes, it is an envelope whose parts make up the whole, or a reject of the spec', async () => {
  const alphabet = [0x54, 0x4b, 1, 0, 0xff, 0x61, 0x40, 2];
  const runs = fuzzRuns(20_000);
  const bytes = Buffer.alloc(700);
  let decoded = 0;
  const { heapGrowthMb } = await fuzz('decodeEnvelope', runs, (run) => {
    const length = (run * 7919) % 700;
    // Half of them begin well and go wrong later.
    for (let i = 0; i < length; i++) bytes[i] = alphabet[Math.floor(Math.random() * 8)]!;
    if (run % 2 === 0) bytes.set([0x54, 0x4b, 1, 1, 1 + (run % 66), ...Buffer.from('a'.repeat(1 + (run % 66)))]);
    const input = bytes.subarray(0, length);
    try {
      const { header, nonce, sealed } = decodeEnvelope(input);
      decoded++;
      if (!Buffer.concat([header, nonce, sealed]).equals(input)) throw new Error('parts are missing');
    } catch (error) {
      if (!(error instanceof KmsError) || !REJECTS.includes(error.code)) throw error;
    }
  });
  assert.ok(decoded > 0, 'some must get through');
  assert.ok(heapGrowthMb < 20, `${String(heapGrowthMb)} MB`);
});

test.run();
