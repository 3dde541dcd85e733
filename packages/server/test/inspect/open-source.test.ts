import { generateKey, promoteKey, providerFor, retireKey, SharedResources } from '@teapot-kms/core';
import type { KeysetSource, RemoteKek } from '@teapot-kms/core';
import { EnvelopeKey, SecretBytes } from '@teapot-kms/core';
import { FakeToken, FaultInjectingRemoteKek, newDirectory, rejectsWithCode, rememberSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { summaryOf } from '../../src/inspect/envelope-summary.ts';
import { openDekSource } from '../../src/inspect/open-source.ts';
import { parseStoredValue } from '../../src/inspect/stored-value.ts';
import type { KmsValue } from '../../src/inspect/stored-value.ts';
import { kmsV1, kmsV2 } from '../support/stored-values.ts';

const seed = randomBytes(32);
rememberSecret(seed);
const open = (store: KeysetSource | RemoteKek, value: Buffer): Promise<Buffer> => {
  const stored = parseStoredValue(value) as KmsValue;
  return openDekSource(store, stored, summaryOf(stored.encryptedDekSource));
};

const test = suite<{ store: KeysetSource; keyId: string; sealed: Buffer }>('opening a data key');
test.before.each(async (context) => {
  const uri = `file:${join(newDirectory(), 'keys')}`;
  context.store = providerFor(uri).open(uri, {}, new SharedResources()) as KeysetSource;
  await generateKey(context.store.admin!);
  const keyset = await context.store.load({ signal: AbortSignal.timeout(60_000) });
  context.keyId = keyset.manifest.primary;
  context.sealed = keyset.primary.seal(seed);
  keyset.destroy();
});

test('the keyset that sealed it opens it, from KMS v2 and v1', async ({ store, keyId, sealed }) => {
  assert.equal(await open(store, kmsV2({ keyId, encryptedDekSource: sealed })), seed);
  assert.equal(await open(store, kmsV1(sealed)), seed);
});

test('a key that the keyset does not have', async ({ store }) => {
  const key = new EnvelopeKey({ key: new SecretBytes(randomBytes(32)), keyId: 'foreign', contextId: Buffer.alloc(16) });
  await rejectsWithCode(() => open(store, kmsV1(key.seal(seed))), 'ERR_KMS_UNKNOWN_KEY');
});

test('a retired key', async ({ store, keyId, sealed }) => {
  const { keyId: next } = await generateKey(store.admin!);
  await promoteKey(store.admin!, next);
  await retireKey(store.admin!, keyId);
  await rejectsWithCode(() => open(store, kmsV1(sealed)), 'ERR_KMS_KEY_RETIRED');
});

test('a changed byte', async ({ store, keyId, sealed }) => {
  sealed[sealed.length - 1]! ^= 1;
  await rejectsWithCode(
    () => open(store, kmsV2({ keyId, encryptedDekSource: sealed })),
    'ERR_KMS_AUTHENTICATION_FAILED',
  );
});

test('an object that names another key than the envelope', async ({ store, sealed }) => {
  const value = kmsV2({ keyId: 'another', encryptedDekSource: sealed });
  await rejectsWithCode(() => open(store, value), 'ERR_KMS_KEY_ID_MISMATCH');
});

test("another plugin's ciphertext", async ({ store }) => {
  await rejectsWithCode(() => open(store, kmsV1(Buffer.alloc(64))), 'ERR_KMS_ENVELOPE_MALFORMED');
});

test('an envelope whose local KEK a token wrapped, with and without the token', async ({ store, keyId }) => {
  const remote = new FaultInjectingRemoteKek(new FakeToken(keyId));
  const localKek = randomBytes(32);
  const signal = AbortSignal.timeout(60_000);
  const wrapped = await remote.wrap(keyId, new SecretBytes(Buffer.from(localKek)), { signal });
  const { contextId } = remote.token;
  const sealed = new EnvelopeKey({ key: new SecretBytes(localKek), keyId, contextId, wrapped }).seal(seed);
  assert.equal(await open(remote, kmsV1(sealed)), seed);
  assert.ok(
    remote.givenOut.every((key) => key.expose().every((byte) => byte === 0)),
    'the local KEK is wiped',
  );
  await rejectsWithCode(() => open(store, kmsV1(sealed)), 'ERR_KMS_AUTHENTICATION_FAILED');
});

test('a token that does not have the key, and an envelope without a local KEK', async ({ keyId, sealed }) => {
  await rejectsWithCode(() => open(new FaultInjectingRemoteKek(), kmsV1(sealed)), 'ERR_KMS_UNKNOWN_KEY');
  const remote = new FaultInjectingRemoteKek(new FakeToken(keyId));
  await rejectsWithCode(() => open(remote, kmsV1(sealed)), 'ERR_KMS_AUTHENTICATION_FAILED');
});

test.run();
