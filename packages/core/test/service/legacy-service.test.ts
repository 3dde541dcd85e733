import { FakeClock, legacyCiphertext, rejectsWithCode, settle } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { Keyset } from '../../src/keyset/keyset.ts';
import type { KeysetServiceOptions } from '../../src/service/keyset-service.ts';
import { KeysetService } from '../../src/service/keyset-service.ts';
import { LegacyService } from '../../src/service/legacy-service.ts';
import { LegacyKeys } from '../../src/stores/barbican/legacy.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { patient } from '../support/context.ts';
import { newKeyBytes } from '../support/keys.ts';
import { manifestOf } from '../support/manifests.ts';

const OLD = '72a66c8e-1f5c-4b1a-9a3c-0f7d1f2b9c11';
const UNAVAILABLE = 'ERR_KMS_STORE_UNAVAILABLE';
const hangs = () => new Promise<never>(() => undefined);
const OLDER = '00000000-1f5c-4b1a-9a3c-0f7d1f2b9c11';

/** A service with a new primary and two legacy keys, not started yet. */
function makeWithLegacy(options: Partial<KeysetServiceOptions> = {}) {
  const legacyKeys = { [OLD]: randomBytes(32), [OLDER]: randomBytes(16) };
  const key = newKeyBytes();
  const openers: LegacyKeys[] = [];
  const load = () =>
    Keyset.load(
      patient,
      manifestOf('promoted'),
      () => Promise.resolve(new SecretBytes(Buffer.from(key))),
      () => {
        const copies = Object.entries(legacyKeys).map(
          ([id, bytes]) => [id, new SecretBytes(Buffer.from(bytes))] as const,
        );
        const opener = new LegacyKeys(new Map(copies), [new KmsError('ERR_KMS_KEY_GONE', 'a warning')]);
        openers.push(opener);
        return Promise.resolve(opener);
      },
    );
  const clock = new FakeClock();
  const source = { uri: 'test:', load, watch: () => () => undefined };
  const service = new LegacyService(new KeysetService({ source, clock, ...options }));
  return { service, legacyKeys, openers, clock };
}

async function withLegacy() {
  const made = makeWithLegacy();
  made.service.start();
  await settle();
  return made;
}

test('KMS v2 names the legacy key, and only that one is tried', async () => {
  const { service, legacyKeys } = await withLegacy();
  const plaintext = randomBytes(32);
  const ciphertext = legacyCiphertext(legacyKeys[OLDER], plaintext);
  assert.equal(await service.decrypt({ ciphertext, keyId: OLDER }, patient), plaintext);
  await rejectsWithCode(() => service.decrypt({ ciphertext, keyId: OLD }, patient), 'ERR_KMS_AUTHENTICATION_FAILED');
  await service.close();
});

test('KMS v1 names none, so each is tried', async () => {
  const { service, legacyKeys } = await withLegacy();
  for (const key of Object.values(legacyKeys)) {
    const plaintext = randomBytes(32);
    assert.equal(await service.decrypt({ ciphertext: legacyCiphertext(key, plaintext) }, patient), plaintext);
  }
  const { keys } = service.describe();
  assert.equal(
    keys.map(({ id, state, decrypts }) => [id, state, decrypts]),
    [
      ['key-0', 'promoted', 0],
      [OLD, 'legacy', 1],
      [OLDER, 'legacy', 1],
    ],
  );
  await service.close();
});

test('new data is sealed under the new key, in an envelope that opens by v1 and v2', async () => {
  const { service } = await withLegacy();
  const plaintext = randomBytes(32);
  const { ciphertext, keyId } = await service.encrypt(plaintext, patient);
  assert.is(keyId, 'key-0');
  assert.equal(await service.decrypt({ ciphertext, keyId }, patient), plaintext);
  assert.equal(await service.decrypt({ ciphertext }, patient), plaintext);
  assert.is((await service.status()).keyId, 'key-0');
  await service.close();
});

test('one error for all that is wrong with a legacy ciphertext', async () => {
  const { service, legacyKeys } = await withLegacy();
  const good = legacyCiphertext(legacyKeys[OLD], randomBytes(32));
  const damaged = Buffer.from(good);
  damaged[63]! ^= 1;
  const short = good.subarray(0, 48);
  const foreign = legacyCiphertext(randomBytes(32), randomBytes(32));
  const longer = legacyCiphertext(legacyKeys[OLD], randomBytes(48));
  const messages = new Set<string>();
  for (const ciphertext of [damaged, short, foreign, longer, Buffer.alloc(0), Buffer.alloc(64)]) {
    for (const keyId of [OLD, undefined]) {
      const fails = () => service.decrypt({ ciphertext, keyId }, patient);
      messages.add((await rejectsWithCode(fails, 'ERR_KMS_AUTHENTICATION_FAILED')).message);
    }
  }
  assert.is(messages.size, 1);
  await service.close();
});

test('an envelope of ours under a legacy key_id is not opened', async () => {
  const { service } = await withLegacy();
  const { ciphertext } = await service.encrypt(randomBytes(32), patient);
  await rejectsWithCode(() => service.decrypt({ ciphertext, keyId: OLD }, patient), 'ERR_KMS_AUTHENTICATION_FAILED');
  await service.close();
});

test('what is wrong with a legacy key is a warning, and Status stays ok', async () => {
  const { service } = await withLegacy();
  assert.equal(service.describe().warnings, ['ERR_KMS_KEY_GONE: a warning']);
  assert.is((await service.status()).healthz, 'ok');
  await service.close();
});

test('a legacy ciphertext waits for the first load', async () => {
  const { service, legacyKeys } = makeWithLegacy();
  service.start();
  const plaintext = randomBytes(32);
  const ciphertext = legacyCiphertext(legacyKeys[OLD], plaintext);
  assert.equal(await service.decrypt({ ciphertext, keyId: OLD }, patient), plaintext);
  await service.close();
});

test('before the first load no ciphertext is called malformed: it may be a legacy one', async () => {
  const { service, clock } = makeWithLegacy({ source: { uri: 'test:', load: hangs, watch: () => () => undefined } });
  service.start();
  const failed = rejectsWithCode(async () => service.decrypt({ ciphertext: Buffer.from('x') }, patient), UNAVAILABLE);
  await clock.advance(2_000);
  await failed;
  await service.close();
});

test('a refresh replaces the legacy keys, and close wipes them', async () => {
  const { service, legacyKeys, openers, clock } = makeWithLegacy({ probeIntervalMs: 1_000 });
  service.start();
  await clock.advance(2_000);
  assert.ok(openers.length >= 2);
  await service.close();
  const ciphertext = legacyCiphertext(legacyKeys[OLD], randomBytes(32));
  for (const opener of openers) assert.is(opener.open(ciphertext, OLD), undefined);
  await rejectsWithCode(() => service.decrypt({ ciphertext, keyId: OLD }, patient), 'ERR_KMS_CLOSED');
});

test.run();
