import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CryptoEngine } from '../../src/crypto/engine.ts';
import { patient } from '../support/context.ts';
import { startService } from '../support/keyset-service.ts';
import { startLocal } from '../support/local-kek-service.ts';

const pooled = () => new CryptoEngine('pool', { host: { cores: 3, aesInstructions: true }, inlineBytes: 64 });

for (const [kind, start] of [
  ['keyset', startService],
  ['local KEK', startLocal],
] as const) {
  test(`a ${kind} service takes long messages and short ones, and counts both`, async () => {
    const crypto = pooled();
    const { service, primary } = await start({ crypto });
    const messages = [32, 1_000, 1_000, 1_000, 1_000, 32].map((length) => randomBytes(length));
    const roundTrip = async (plaintext: Buffer): Promise<Buffer> =>
      service.decrypt(await service.encrypt(plaintext, patient), patient);
    assert.equal(await Promise.all(messages.map(roundTrip)), messages);
    assert.equal(service.describe().keys, [{ id: primary, state: 'promoted', decrypts: 6, verified: true }]);
    await Promise.all([service.close(), crypto.close()]);
  });

  test(`a ${kind} service refuses a long message that was changed, and does not count it`, async () => {
    const crypto = pooled();
    const { service } = await start({ crypto });
    const { ciphertext, keyId } = await service.encrypt(randomBytes(1_000), patient);
    ciphertext[ciphertext.length - 1]! ^= 1;
    await rejectsWithCode(() => service.decrypt({ ciphertext, keyId }, patient), 'ERR_KMS_AUTHENTICATION_FAILED');
    assert.is(service.describe().keys[0]?.decrypts, 0);
    await Promise.all([service.close(), crypto.close()]);
  });
}

test.run();
