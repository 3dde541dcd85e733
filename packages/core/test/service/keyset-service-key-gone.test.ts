// The rows of the design's failure table that are about a key that the store says is gone (design D3).
import { rejectsWithCode, settle } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { patient } from '../support/context.ts';
import { makeService, rotate, startService } from '../support/keyset-service.ts';

const seed = randomBytes(32);
const MINUTE = 60_000;

test('a key that is gone is certain only when the store says so twice', async () => {
  const { service, source, clock, primary } = await startService();
  source.loading.failWith = 'ERR_KMS_KEY_GONE';
  for (const onChange of source.admin.watchers) onChange();
  await settle();
  assert.equal(await service.status(), { healthz: 'ok', keyId: primary });
  // The next attempt comes after half a second.
  await clock.advance(700);
  await rejectsWithCode(() => service.status(), 'ERR_KMS_KEY_GONE');
  await service.close();
});

test('a key that was gone once only is no trouble', async () => {
  const { service, source, clock } = await startService();
  source.loading.failWith = 'ERR_KMS_KEY_GONE';
  for (const onChange of source.admin.watchers) onChange();
  await settle();
  source.loading.failWith = undefined;
  await clock.advance(MINUTE);
  source.loading.failWith = 'ERR_KMS_KEY_GONE';
  for (const onChange of source.admin.watchers) onChange();
  await settle();
  assert.is((await service.status()).healthz, 'ok');
  await service.close();
});

test('a gone key seals and opens for ten minutes more, then no longer', async () => {
  const { service, source, clock } = await startService();
  const { ciphertext } = await service.encrypt(seed, patient);
  source.loading.failWith = 'ERR_KMS_KEY_GONE';
  for (const onChange of source.admin.watchers) onChange();
  await clock.advance(700);
  await rejectsWithCode(() => service.status(), 'ERR_KMS_KEY_GONE');
  await clock.advance(10 * MINUTE - 1_000);
  await service.encrypt(seed, patient);
  await service.decrypt({ ciphertext }, patient);
  await clock.advance(2_000);
  await rejectsWithCode(() => service.encrypt(seed, patient), 'ERR_KMS_KEY_GONE');
  await rejectsWithCode(() => service.decrypt({ ciphertext }, patient), 'ERR_KMS_KEY_GONE');
  await service.close();
});

test('a start without the primary, which is gone, opens with the keys that are left, and lets none of them go', async () => {
  const { service: before, store } = await startService();
  const { ciphertext, keyId: first } = await before.encrypt(seed, patient);
  const second = await rotate({ store });
  const newer = await before.encrypt(seed, patient);
  await before.close();
  const { service, source, clock } = await makeService();
  const readKey = store.readKey.bind(store);
  let gone = true;
  store.readKey = (id) =>
    gone && id === second ? Promise.reject(new KmsError('ERR_KMS_KEY_GONE', 'it is gone')) : readKey(id);
  source.load = (context) => store.load(context);
  service.start();
  await settle();
  assert.equal(await service.decrypt({ ciphertext }, patient), seed);
  await clock.advance(20 * MINUTE);
  await rejectsWithCode(() => service.status(), 'ERR_KMS_KEY_GONE');
  await rejectsWithCode(() => service.encrypt(seed, patient), 'ERR_KMS_KEY_GONE');
  await rejectsWithCode(() => service.decrypt({ ciphertext: newer.ciphertext }, patient), 'ERR_KMS_KEY_GONE');
  assert.equal(await service.decrypt({ ciphertext, keyId: first }, patient), seed);
  gone = false;
  await clock.advance(MINUTE);
  assert.equal(await service.status(), { healthz: 'ok', keyId: second });
  assert.equal(await service.decrypt({ ciphertext: newer.ciphertext }, patient), seed);
  await service.close();
});

test('a key that comes back works again', async () => {
  const { service, source, clock } = await startService();
  const { ciphertext } = await service.encrypt(seed, patient);
  source.loading.failWith = 'ERR_KMS_KEY_GONE';
  await clock.advance(20 * MINUTE);
  await rejectsWithCode(() => service.encrypt(seed, patient), 'ERR_KMS_KEY_GONE');
  source.loading.failWith = undefined;
  await clock.advance(MINUTE);
  assert.is((await service.status()).healthz, 'ok');
  assert.equal(await service.decrypt({ ciphertext }, patient), seed);
  await service.close();
});

test.run();
