import { FakeClock, FaultInjectingSource, rejectsWithCode, settle } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keyset/administration.ts';
import { KeysetService } from '../../src/service/keyset-service.ts';
import { MigrationService } from '../../src/service/migration-service.ts';
import { patient } from '../support/context.ts';
import { makeLocal } from '../support/local-kek-service.ts';

const seed = randomBytes(32);

/** A store with a key, its service alone, and something that was encrypted with it. */
async function oneStore(clock: FakeClock) {
  const source = new FaultInjectingSource();
  await generateKey(source.admin, { clock });
  const service = new KeysetService({ source, clock });
  service.start();
  await settle();
  const encrypted = await service.encrypt(seed, patient);
  await service.close();
  return { source, encrypted, service: new KeysetService({ source, clock }) };
}

async function migrating() {
  const clock = new FakeClock();
  const [now, before] = [await oneStore(clock), await oneStore(clock)];
  return { clock, now, before, service: new MigrationService(now.service, [before.service]) };
}

async function running() {
  const made = await migrating();
  made.service.start();
  await settle();
  return made;
}

test('it encrypts with the primary store, whose key Status names', async () => {
  const { service, now } = await running();
  const { keyId } = await service.encrypt(seed, patient);
  assert.is(keyId, now.encrypted.keyId);
  assert.is((await service.status()).keyId, keyId);
  await service.close();
});

test('keys are found by id over all stores, without a look into any', async () => {
  const { service, now, before } = await running();
  for (const { encrypted } of [now, before]) {
    const opened = service.decrypt(encrypted, patient);
    assert.not(opened instanceof Promise);
    assert.equal(await opened, seed);
  }
  await service.close();
});

test('KMS v1 names no key: the envelope does', async () => {
  const { service, before } = await running();
  assert.equal(await service.decrypt({ ciphertext: before.encrypted.ciphertext }, patient), seed);
  await service.close();
});

test('calls before the first answers wait for every store', async () => {
  const { service, before } = await migrating();
  service.start();
  assert.equal(await service.decrypt(before.encrypted, patient), seed);
  await service.close();
});

test('a key that no store has: the error names all of them', async () => {
  const { service } = await running();
  const { encrypted } = await oneStore(new FakeClock());
  const error = await rejectsWithCode(() => service.decrypt(encrypted, patient), 'ERR_KMS_UNKNOWN_KEY');
  assert.is(error.message.split('is not in').length, 3);
  await service.close();
});

test('a key that a silent store may have is no unknown key', async () => {
  const { service, before } = await migrating();
  before.source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  service.start();
  await settle();
  await rejectsWithCode(() => service.decrypt(before.encrypted, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await service.close();
});

test('a former store that fails is a warning that names it, and Status stays ok', async () => {
  const { service, before } = await migrating();
  before.source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  service.start();
  await settle();
  assert.is((await service.status()).healthz, 'ok');
  const { warnings } = service.describe();
  assert.is(warnings.length, 1);
  assert.match(warnings[0]!, new RegExp(`^decryptOnly ${before.source.uri}: ERR_KMS_STORE_UNAVAILABLE: injected`));
  await service.close();
});

test('it is ready when every store is', async () => {
  const { service, before } = await migrating();
  before.source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  service.start();
  await rejectsWithCode(() => service.ready(), 'ERR_KMS_STORE_UNAVAILABLE');
  await rejectsWithCode(async () => service.decrypt(before.encrypted, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await service.close();
});

test('the description lists the keys of all stores, and the keysets that only decrypt', async () => {
  const { service, now, before } = await running();
  const { keys, primary, decryptOnly = [] } = service.describe();
  assert.equal(
    keys.map(({ id }) => id),
    [now, before].map(({ encrypted }) => encrypted.keyId),
  );
  assert.is(primary, now.encrypted.keyId);
  assert.equal(
    decryptOnly.map(({ uri, keyset }) => [uri, keyset?.contextId]),
    [[before.source.uri, (await before.source.admin.readManifest())!.manifest.contextId]],
  );
  await service.close();
});

test('a token that only decrypts wraps nothing', async () => {
  const { service, remote, primary } = makeLocal({ decryptOnly: true });
  service.start();
  await settle();
  assert.is(service.ready(), undefined);
  assert.ok(service.holds(primary));
  assert.is(remote.wrapping.calls, 0);
  await rejectsWithCode(() => service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
  await service.close();
});

test.run();
