import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import { checkKeyId, decodeEnvelope } from '../../src/envelope/codec.ts';
import { makeKey } from '../support/keys.ts';

const envelope = decodeEnvelope(makeKey({ keyId: 'the-key' }).seal(Buffer.from('x')));

test('the envelope’s own id is right, and so is none at all (KMS v1)', () => {
  checkKeyId(envelope, 'the-key');
  checkKeyId(envelope, undefined);
});

for (const keyId of ['', 'the-ke', 'the-key2', 'THE-KEY', 'other']) {
  test(`${JSON.stringify(keyId)} is a mismatch`, async () => {
    await rejectsWithCode(() => checkKeyId(envelope, keyId), 'ERR_KMS_KEY_ID_MISMATCH');
  });
}

test.run();
