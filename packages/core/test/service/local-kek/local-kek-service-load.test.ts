// Storms, ages, eviction and overload: what the cache of local KEKs is for.
import { rejectsWithCode, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { impatient, patient } from '../../support/context.ts';
import { figure } from '../../support/figure.ts';
import { sealedElsewhere, startLocal } from '../../support/local-kek-service.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

test('ten thousand decrypts at once over five hundred wrapped keys are five hundred unwraps', async () => {
  const { service, remote, token } = await startLocal();
  remote.unwrapping.latencyMs = 5;
  const sealed = await sealedElsewhere(token, 500);
  const opened = await Promise.all(
    Array.from({ length: 10_000 }, async (_, i) => {
      const one = sealed[(i * 7) % 500]!;
      return (await service.decrypt(one, patient)).equals(one.plaintext);
    }),
  );
  assert.ok(opened.every(Boolean));
  assert.is(remote.unwrapping.calls, 500);
  const { counters } = service.describe();
  assert.is(counters['coalesced_unwraps']! + counters['cache_hits']!, 9_500);
  figure(`remote unwraps of 10,000 concurrent decrypts over 500 wrapped keys: ${String(remote.unwrapping.calls)}`);
  await service.close();
});

test('the first caller gives up and the others get theirs from the same unwrap', async () => {
  const { service, remote, token } = await startLocal();
  const [sealed] = await sealedElsewhere(token, 1);
  const release = remote.unwrapping.hold();
  const first = impatient();
  const gaveUp = service.decrypt(sealed!, first);
  const others = Array.from({ length: 100 }, () => Promise.resolve(service.decrypt(sealed!, patient)));
  first.giveUp();
  await rejectsWithCode(() => gaveUp, 'ERR_KMS_CANCELLED');
  release();
  for (const plaintext of await Promise.all(others)) assert.equal(plaintext, sealed!.plaintext);
  assert.is(remote.unwrapping.calls, 1);
  await service.close();
});

test('a request buffer that is wiped when its caller gives up does not disturb the unwrap', async () => {
  const { service, remote, token } = await startLocal();
  const [sealed] = await sealedElsewhere(token, 1);
  const release = remote.unwrapping.hold();
  const [first, copy] = [impatient(), Buffer.from(sealed!.ciphertext)];
  const gaveUp = service.decrypt({ ciphertext: copy }, first);
  const other = service.decrypt(sealed!, patient);
  await settle();
  first.giveUp();
  copy.fill(0);
  release();
  await rejectsWithCode(() => gaveUp, 'ERR_KMS_CANCELLED');
  assert.equal(await other, sealed!.plaintext);
  await service.close();
});

test('a caller who had given up before leaves no failure behind that nobody handles', async () => {
  const { service, remote, token } = await startLocal();
  const [sealed] = await sealedElsewhere(token, 1);
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  remote.unwrapping.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  await rejectsWithCode(() => service.decrypt(sealed!, { signal: AbortSignal.abort() }), 'ERR_KMS_CANCELLED');
  await settle();
  process.off('unhandledRejection', note);
  assert.equal(unhandled, []);
  await service.close();
});

test('beyond its soft age an entry still opens at once and is unwrapped anew behind the scenes, once', async () => {
  const { service, remote, token, clock } = await startLocal({ softAgeMs: HOUR, hardAgeMs: 24 * HOUR });
  const [sealed] = await sealedElsewhere(token, 1);
  await service.decrypt(sealed!, patient);
  await clock.advance(HOUR);
  const before = remote.unwrapping.calls;
  for (let i = 0; i < 100; i++) assert.not(service.decrypt(sealed!, patient) instanceof Promise);
  await settle();
  assert.is(remote.unwrapping.calls - before, 1);
  await clock.advance(HOUR - 1);
  await service.decrypt(sealed!, patient);
  await settle();
  assert.is(remote.unwrapping.calls - before, 1, 'it is young again');
  assert.is(service.describe().counters['background_unwraps'], 1);
  await service.close();
});

test('with the token away an entry is used up to its hard age and not beyond', async () => {
  const { service, remote, token, clock } = await startLocal({ softAgeMs: HOUR, hardAgeMs: 24 * HOUR });
  const [sealed] = await sealedElsewhere(token, 1);
  await service.decrypt(sealed!, patient);
  remote.fail('ERR_KMS_STORE_UNAVAILABLE');
  await clock.advance(24 * HOUR - 1);
  assert.equal(await service.decrypt(sealed!, patient), sealed!.plaintext);
  await clock.advance(1);
  await rejectsWithCode(() => service.decrypt(sealed!, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await service.close();
});

test('entries beyond their hard age are dropped, though nobody asks for them', async () => {
  const { service, token, clock } = await startLocal({ softAgeMs: HOUR, hardAgeMs: 2 * HOUR });
  for (const sealed of await sealedElsewhere(token, 10)) await service.decrypt(sealed, patient);
  assert.is(service.describe().cacheEntries, 11);
  await clock.advance(3 * HOUR);
  // What is left are the local KEKs of our own that seal or sealed.
  assert.ok(service.describe().cacheEntries! <= 3);
  await service.close();
});

test('with the token away sealing goes on up to the hard age of the local KEK and not beyond', async () => {
  const { service, remote, clock, primary } = await startLocal({ softAgeMs: HOUR, hardAgeMs: 24 * HOUR });
  remote.fail('ERR_KMS_STORE_UNAVAILABLE');
  await clock.advance(24 * HOUR - 1);
  assert.is((await service.encrypt(Buffer.from('x'), patient)).keyId, primary);
  await clock.advance(1);
  await rejectsWithCode(() => service.encrypt(Buffer.from('x'), patient), 'ERR_KMS_STORE_UNAVAILABLE');
  const { healthz, keyId } = await service.status();
  assert.match(healthz, /injected ERR_KMS_STORE_UNAVAILABLE/);
  assert.is(keyId, primary);
  await service.close();
});

test('a key that is gone for certain is an error of Status at once, and of Encrypt from the hard age on', async () => {
  const { service, remote, clock } = await startLocal({ softAgeMs: HOUR, hardAgeMs: 24 * HOUR });
  remote.fail('ERR_KMS_KEY_GONE');
  await clock.advance(2 * MINUTE);
  await rejectsWithCode(() => service.status(), 'ERR_KMS_KEY_GONE');
  await service.encrypt(Buffer.from('x'), patient);
  await clock.advance(24 * HOUR);
  await rejectsWithCode(() => service.encrypt(Buffer.from('x'), patient), 'ERR_KMS_KEY_GONE');
  remote.fail(undefined);
  await clock.advance(MINUTE);
  assert.is((await service.status()).healthz, 'ok');
  await service.encrypt(Buffer.from('x'), patient);
  await service.close();
});

test('a cache that is far too small never gives anyone a destroyed key', async () => {
  const { service, token } = await startLocal({ cacheEntries: 2 });
  const sealed = await sealedElsewhere(token, 60);
  const worker = async (start: number) => {
    for (let i = 0; i < 100; i++) {
      const one = sealed[(start * 13 + i * (1 + (start % 7))) % 60]!;
      assert.equal(await service.decrypt(one, patient), one.plaintext);
      if (i % 5 === 0) await settle();
    }
  };
  await Promise.all(Array.from({ length: 50 }, (_, start) => worker(start)));
  const { counters } = service.describe();
  assert.ok(counters['cache_evictions']! > 100);
  assert.ok(service.describe().cacheEntries! <= 2);
  await service.close();
});

test('only so many distinct keys wait for the token; those who wait for one of them are not counted', async () => {
  const { service, remote, token } = await startLocal({ maxPending: 10 });
  const sealed = await sealedElsewhere(token, 11);
  const release = remote.unwrapping.hold();
  const waiting = sealed.slice(0, 10).flatMap((one) => [service.decrypt(one, patient), service.decrypt(one, patient)]);
  await settle();
  await rejectsWithCode(() => service.decrypt(sealed[10]!, patient), 'ERR_KMS_OVERLOADED');
  const another = service.decrypt(sealed[0]!, patient);
  release();
  for (const [index, one] of waiting.entries()) assert.equal(await one, sealed[index >> 1]!.plaintext);
  assert.equal(await another, sealed[0]!.plaintext);
  assert.equal(await service.decrypt(sealed[10]!, patient), sealed[10]!.plaintext);
  assert.is(remote.unwrapping.mostUnderWay, 10);
  assert.is(service.describe().counters['rejected'], 1);
  await service.close();
});

test('a token that hangs is given up after its time, and the place is free again', async () => {
  const { service, remote, token, clock } = await startLocal({ maxPending: 1, operationTimeoutMs: 10_000 });
  const sealed = await sealedElsewhere(token, 2);
  remote.unwrapping.hang = true;
  const waiting = Promise.resolve(service.decrypt(sealed[0]!, patient));
  const failed = rejectsWithCode(() => waiting, 'ERR_KMS_STORE_UNAVAILABLE');
  await clock.advance(10_000);
  assert.match((await failed).message, /did not answer within 10000 ms/);
  remote.unwrapping.hang = false;
  assert.equal(await service.decrypt(sealed[1]!, patient), sealed[1]!.plaintext);
  await service.close();
});

test('a key that the token gives out after its time is wiped', async () => {
  const { service, remote, token, clock } = await startLocal({ operationTimeoutMs: 10_000 });
  const [sealed] = await sealedElsewhere(token, 1);
  const release = remote.unwrapping.hold();
  const waiting = Promise.resolve(service.decrypt(sealed!, patient));
  const failed = rejectsWithCode(() => waiting, 'ERR_KMS_STORE_UNAVAILABLE');
  await clock.advance(10_000);
  await failed;
  release();
  await settle();
  assert.equal(
    remote.givenOut.map((key) => key.expose()),
    [Buffer.alloc(32)],
  );
  await service.close();
});

test('a failed unwrap is tried again by the next caller', async () => {
  const { service, remote, token } = await startLocal();
  const [sealed] = await sealedElsewhere(token, 1);
  remote.unwrapping.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  await rejectsWithCode(() => service.decrypt(sealed!, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  remote.unwrapping.failWith = undefined;
  assert.equal(await service.decrypt(sealed!, patient), sealed!.plaintext);
  await service.close();
});

test.run();
