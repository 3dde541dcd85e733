import { rejectsWithCode, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../../src/envelope/codec.ts';
import { impatient, patient } from '../../support/context.ts';
import { startLocal } from '../../support/local-kek-service.ts';

const seed = Buffer.alloc(32, 1);

test('each Encrypt has a local KEK of its own', async () => {
  const { service, remote, primary } = await startLocal({ direct: true });
  const sealed = await Promise.all(Array.from({ length: 20 }, () => Promise.resolve(service.encrypt(seed, patient))));
  const wrapped = new Set(sealed.map(({ ciphertext }) => decodeEnvelope(ciphertext).wrapped.toString('hex')));
  assert.is(wrapped.size, 20);
  assert.is(remote.wrapping.calls, 20);
  assert.ok(sealed.every(({ keyId }) => keyId === primary));
  await service.close();
});

test('each Decrypt is an unwrap of its own, also of the same ciphertext at the same time', async () => {
  const { service, remote } = await startLocal({ direct: true });
  const { ciphertext } = await service.encrypt(seed, patient);
  for (let i = 0; i < 5; i++) assert.equal(await service.decrypt({ ciphertext }, patient), seed);
  await Promise.all(Array.from({ length: 5 }, () => Promise.resolve(service.decrypt({ ciphertext }, patient))));
  assert.is(remote.unwrapping.calls, 10);
  assert.is(service.describe().cacheEntries, 0);
  await service.close();
});

test('Status names the token’s primary without a wrap', async () => {
  const { service, remote, primary } = await startLocal({ direct: true });
  assert.equal(await service.status(), { healthz: 'ok', keyId: primary });
  assert.is(remote.wrapping.calls, 0);
  await service.close();
});

test('an announced version seals as long as it is promoted', async () => {
  const { service, token, clock, primary: old } = await startLocal({ direct: true });
  const pending = token.add('pending-one');
  token.promote(token.add('new-version'));
  await clock.advance(40_000);
  const keyIdFor = async (announcedKeyId: string | undefined) =>
    (await service.encrypt(seed, { ...patient, announcedKeyId })).keyId;
  assert.is(await keyIdFor(undefined), 'new-version');
  assert.is(await keyIdFor(old), old);
  assert.is(await keyIdFor(pending), 'new-version');
  await service.close();
});

test('with the token away nothing works, and what failed works again after it', async () => {
  const { service, remote } = await startLocal({ direct: true });
  const { ciphertext } = await service.encrypt(seed, patient);
  remote.fail('ERR_KMS_STORE_UNAVAILABLE');
  await rejectsWithCode(() => service.encrypt(seed, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await rejectsWithCode(() => service.decrypt({ ciphertext }, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  remote.fail(undefined);
  assert.equal(await service.decrypt({ ciphertext }, patient), seed);
  await service.close();
});

test('a caller who gives up does not wait for the token', async () => {
  const { service, remote } = await startLocal({ direct: true });
  const { ciphertext } = await service.encrypt(seed, patient);
  const release = remote.wrapping.hold();
  const releaseUnwrap = remote.unwrapping.hold();
  const { signal, giveUp } = impatient();
  const calls = [service.encrypt(seed, { signal }), service.decrypt({ ciphertext }, { signal })];
  giveUp();
  for (const call of calls) await rejectsWithCode(() => call, 'ERR_KMS_CANCELLED');
  release();
  releaseUnwrap();
  await settle();
  for (const key of remote.givenOut) assert.equal(key.expose(), Buffer.alloc(32));
  await service.close();
});

test('a plaintext that cannot be sealed is refused', async () => {
  const { service } = await startLocal({ direct: true });
  await rejectsWithCode(() => service.encrypt(Buffer.alloc(0), patient), 'ERR_KMS_LIMIT_EXCEEDED');
  await service.close();
});

test('only so many Encrypts wait for the token at a time', async () => {
  const { service, remote } = await startLocal({ direct: true, maxPending: 5 });
  const release = remote.wrapping.hold();
  const waiting = Array.from({ length: 5 }, () => Promise.resolve(service.encrypt(seed, patient)));
  await settle();
  await rejectsWithCode(() => service.encrypt(seed, patient), 'ERR_KMS_OVERLOADED');
  release();
  await Promise.all(waiting);
  await service.encrypt(seed, patient);
  await service.close();
});

test.run();
