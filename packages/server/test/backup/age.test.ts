import { KmsError } from '@teapot-kms/core';
import { armor, generateIdentity, identityToRecipient } from 'age-encryption';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lock, unlock } from '../../src/backup/age.ts';
import type { Opener } from '../../src/backup/age.ts';

const plaintext = Buffer.from('a keyset');
const identity = await generateIdentity();
const recipient = await identityToRecipient(identity);

async function failure(work: () => Promise<unknown>): Promise<KmsError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof KmsError) return error;
    throw error;
  }
  throw new Error('it succeeded');
}

const opened = async (file: Uint8Array, how: Opener): Promise<Buffer> => Buffer.from(await unlock(file, how));

test('the holder of an identity opens what was locked for its recipient', async () => {
  const other = await identityToRecipient(await generateIdentity());
  const file = await lock(plaintext, { recipients: [other, recipient] });
  assert.equal(await opened(file, { identities: [await generateIdentity(), identity] }), plaintext);
});

test('a passphrase opens what was locked with it', async () => {
  const file = await lock(plaintext, { passphrase: 'correct horse' });
  assert.equal(await opened(file, { passphrase: 'correct horse' }), plaintext);
  assert.is((await failure(() => unlock(file, { passphrase: 'wrong' }))).code, 'ERR_KMS_KEYSET_INVALID');
});

test('the armored form opens too', async () => {
  const file = Buffer.from(armor.encode(await lock(plaintext, { recipients: [recipient] })));
  assert.equal(await opened(file, { identities: [identity] }), plaintext);
});

test('a file that is damaged at any place does not open', async () => {
  const file = await lock(plaintext, { recipients: [recipient] });
  for (let at = 0; at < file.length; at += 7) {
    const damaged = Buffer.from(file);
    damaged[at]! ^= 1;
    assert.is(
      (await failure(() => unlock(damaged, { identities: [identity] }))).code,
      'ERR_KMS_KEYSET_INVALID',
      `byte ${at}`,
    );
  }
});

test('a recipient that is none is named; a line of an identity file is not shown', async () => {
  const wrong = await failure(() => lock(plaintext, { recipients: ['age1nonsense'] }));
  assert.is(wrong.code, 'ERR_KMS_KEYSET_RULE');
  assert.match(wrong.message, /age1nonsense/);
  assert.is(wrong.remedy, 'expected "age1..." for a recipient, and "AGE-SECRET-KEY-1..." in an identity file');
  await lock(plaintext, { recipients: [recipient] });
  const secret = `${identity.slice(0, -1)}!`;
  const refused = await failure(() => unlock(Buffer.alloc(0), { identities: [secret] }));
  assert.is(refused.code, 'ERR_KMS_KEYSET_RULE');
  assert.not(
    JSON.stringify([refused.message, refused.remedy, String(refused.cause), refused.stack]).includes(secret.slice(-30)),
  );
});

test.run();
