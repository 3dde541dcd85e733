// The rows of the design's failure table that are about the store.
import { rejectsWithCode, settle } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keyset/administration.ts';
import { makeKey } from '../support/keys.ts';
import { patient } from '../support/context.ts';
import { makeService, rotate, startService } from '../support/keyset-service.ts';

const seed = randomBytes(32);
const MINUTE = 60_000;

test('start returns at once, and calls wait for the first load', async () => {
  const { service, source, primary } = await makeService();
  const release = source.loading.hold();
  service.start();
  const calls = Promise.all([service.status(), service.encrypt(seed, patient)]);
  await settle();
  release();
  const [status, encrypted] = await calls;
  assert.is(status.keyId, primary);
  assert.is(encrypted.keyId, primary);
  await service.close();
});

test('calls wait for the first load two seconds at most', async () => {
  const { service, source, clock } = await makeService();
  const { ciphertext } = await (await startService()).service.encrypt(seed, patient);
  source.loading.hang = true;
  service.start();
  const settled: string[] = [];
  const calls = [service.status(), service.encrypt(seed, patient), service.decrypt({ ciphertext }, patient)].map(
    (call, index) =>
      Promise.resolve(call).catch((error: unknown) =>
        settled.push(`${String(index)} ${(error as { code: string }).code}`),
      ),
  );
  await clock.advance(1_999);
  assert.equal(settled, []);
  await clock.advance(1);
  await Promise.all(calls);
  assert.equal(settled.sort(), [
    '0 ERR_KMS_STORE_UNAVAILABLE',
    '1 ERR_KMS_STORE_UNAVAILABLE',
    '2 ERR_KMS_STORE_UNAVAILABLE',
  ]);
  await service.close();
});

test('a store that is away at the start makes every call unavailable, until it comes by itself', async () => {
  const { service, source, clock, primary, events } = await makeService();
  source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  service.start();
  await settle();
  await rejectsWithCode(() => service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
  await rejectsWithCode(() => service.encrypt(seed, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await clock.advance(10 * MINUTE);
  source.loading.failWith = undefined;
  await clock.advance(40_000);
  assert.equal(await service.status(), { healthz: 'ok', keyId: primary });
  await service.encrypt(seed, patient);
  assert.equal(events.types(), ['store-failed', 'key-switched', 'store-ok']);
  await service.close();
});

test('a store that is away is asked soon again, and then less and less often', async () => {
  const { service, source, clock } = await makeService();
  source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  service.start();
  await clock.advance(5_000);
  // 0.5, 1, 2, 4 s, each jittered by a quarter.
  assert.ok(source.loading.calls >= 3 && source.loading.calls <= 5, String(source.loading.calls));
  await clock.advance(10 * MINUTE);
  assert.ok(source.loading.calls < 35, String(source.loading.calls));
  await service.close();
});

test('trouble of the store is not seen in Status for two minutes, then healthz says why and the key id stays', async () => {
  const { service, source, clock, primary } = await startService();
  source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  await clock.advance(2 * MINUTE);
  assert.equal(await service.status(), { healthz: 'ok', keyId: primary });
  await clock.advance(1_000);
  const { healthz, keyId } = await service.status();
  assert.match(healthz, /injected ERR_KMS_STORE_UNAVAILABLE \(last good answer 121 s ago\)/);
  assert.is(keyId, primary);
  await service.close();
});

test('with the store away for a day, sealing and opening go on', async () => {
  const { service, source, clock } = await startService();
  source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  await clock.advance(24 * 60 * MINUTE);
  const { ciphertext } = await service.encrypt(seed, patient);
  assert.equal(await service.decrypt({ ciphertext }, patient), seed);
  await service.close();
});

test('a failure is told once, not at each attempt, and so is its end', async () => {
  const { service, source, clock, events } = await startService();
  source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  await clock.advance(10 * MINUTE);
  source.loading.failWith = undefined;
  await clock.advance(2 * MINUTE);
  assert.equal(events.types(), ['key-switched', 'store-ok', 'store-failed', 'store-ok']);
  assert.ok(service.describe().counters['load_failures']! > 10);
  await service.close();
});

test('a load that hangs is given up after its time, and tried again', async () => {
  const { service, source, clock } = await startService({ loadTimeoutMs: 10_000 });
  source.loading.hang = true;
  await clock.advance(5 * MINUTE);
  assert.ok(source.loading.calls >= 5, String(source.loading.calls));
  assert.ok(source.loading.underWay <= 1);
  assert.match((await service.status()).healthz, /did not answer within 10000 ms/);
  source.loading.hang = false;
  await clock.advance(2 * MINUTE);
  assert.is((await service.status()).healthz, 'ok');
  await service.close();
});

test('a keyset that arrives after its load was given up is wiped and not used', async () => {
  const { service, source, clock, store } = await startService({ loadTimeoutMs: 10_000 });
  const release = source.loading.hold();
  const pending = await generateKey(store);
  await clock.advance(11_000);
  release();
  await settle();
  const late = source.givenOut[1]!;
  assert.is(late.manifest.keys.at(-1)?.id, pending.keyId);
  await rejectsWithCode(() => late.primary.seal(seed), 'ERR_KMS_CLOSED');
  await service.encrypt(seed, patient);
  await service.close();
});

test('a damaged manifest leaves the keys in use with a warning, and Status reports it after its grace: new data depends on memory alone', async () => {
  const { service, store, clock, primary, events } = await startService();
  const good = store.manifestText!;
  store.replaceManifest('keys: nonsense\n');
  await clock.advance(2 * MINUTE);
  assert.equal(await service.status(), { healthz: 'ok', keyId: primary });
  await clock.advance(28 * MINUTE);
  const { healthz, keyId } = await service.status();
  assert.match(healthz, /^fake:keyset:1: .*last good answer 1800 s ago/);
  assert.is(keyId, primary);
  await service.encrypt(seed, patient);
  assert.match(service.describe().warnings.join(), /ERR_KMS_KEYSET_INVALID: fake:keyset:1: /);
  assert.equal(events.types(), ['key-switched', 'store-ok', 'store-failed']);
  store.replaceManifest(good);
  await settle();
  assert.equal(service.describe().warnings, []);
  assert.is((await service.status()).healthz, 'ok');
  assert.equal(events.types().slice(-1), ['store-ok']);
  await service.close();
});

test('a keyset that is damaged at the start gives the place in the error', async () => {
  const { service, store } = await makeService();
  store.replaceManifest('keys: nonsense\n');
  service.start();
  const error = await rejectsWithCode(() => service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, /No key is loaded: fake:keyset:1: .*All calls are refused/s);
  await service.close();
});

test('a thousand requests at once under a key that is new cost one load, and are all opened', async () => {
  const started = await startService();
  const { service, source, store } = started;
  const other = await startServiceOver(started);
  store.watchers.clear();
  await rotate(started);
  other.watch();
  await settle();
  const { ciphertext } = await other.service.encrypt(seed, patient);
  const before = source.loading.calls;
  const opened = await Promise.all(Array.from({ length: 1_000 }, async () => service.decrypt({ ciphertext }, patient)));
  assert.ok(opened.every((plaintext) => plaintext.equals(seed)));
  assert.is(source.loading.calls - before, 1);
  await service.close();
  await other.service.close();
});

test('a thousand requests at once under an unknown key cost one load, and are told once', async () => {
  const { service, source, events } = await startService();
  const { ciphertext } = await (await startService()).service.encrypt(seed, patient);
  const outcomes = await Promise.allSettled(
    Array.from({ length: 1_000 }, async () => service.decrypt({ ciphertext }, patient)),
  );
  assert.ok(
    outcomes.every(
      (one) => one.status === 'rejected' && (one.reason as { code: string }).code === 'ERR_KMS_UNKNOWN_KEY',
    ),
  );
  assert.is(source.loading.calls, 2);
  assert.is(events.types().filter((type) => type === 'unknown-key').length, 1);
  assert.is(service.describe().counters['unknown_keys'], 1);
  await service.close();
});

test('a key that is not in memory while the store is away is unavailable, not unknown, and is found when it is back', async () => {
  const { service, source, store, clock } = await startService();
  source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  const keyId = await rotate({ store });
  const elsewhere = await store.load(patient);
  const ciphertext = elsewhere.primary.seal(seed);
  elsewhere.destroy();
  await rejectsWithCode(() => service.decrypt({ ciphertext, keyId }, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  source.loading.failWith = undefined;
  const opened = service.decrypt({ ciphertext, keyId }, patient);
  await clock.advance(1_000);
  assert.equal(await opened, seed);
  await service.close();
});

test('whatever unknown keys are asked for, the store is looked at once a second at most', async () => {
  const { service, source, clock } = await startService();
  const before = source.loading.calls;
  const asked: Promise<unknown>[] = [];
  for (let tenth = 0; tenth < 30; tenth++) {
    const other = makeKey({ keyId: `key-${String(tenth)}` });
    const ciphertext = other.seal(seed);
    other.destroy();
    const decrypt = async () => service.decrypt({ ciphertext }, patient);
    asked.push(rejectsWithCode(decrypt, 'ERR_KMS_UNKNOWN_KEY'));
    await clock.advance(100);
  }
  await clock.advance(1_000);
  await Promise.all(asked);
  assert.is(source.loading.calls - before, 4, 'at 0, 1, 2 and 3 s');
  await service.close();
});

test('an unknown key is looked for again only after five seconds', async () => {
  const { service, source, clock } = await startService();
  const { ciphertext } = await (await startService()).service.encrypt(seed, patient);
  for (let i = 0; i < 10; i++) {
    await rejectsWithCode(() => service.decrypt({ ciphertext }, patient), 'ERR_KMS_UNKNOWN_KEY');
  }
  assert.is(source.loading.calls, 2);
  await clock.advance(5_000);
  await rejectsWithCode(() => service.decrypt({ ciphertext }, patient), 'ERR_KMS_UNKNOWN_KEY');
  assert.is(source.loading.calls, 3);
  await service.close();
});

async function startServiceOver({ store }: Awaited<ReturnType<typeof startService>>) {
  const other = await makeService();
  const source = other.source;
  source.load = () => store.load(patient);
  other.service.start();
  await settle();
  return {
    service: other.service,
    watch: () => {
      for (const onChange of other.store.watchers) onChange();
    },
  };
}

test('an unknown key is called unavailable while the keyset is damaged: what cannot be read may list it', async () => {
  const { service, store } = await startService();
  const { ciphertext } = await (await startService()).service.encrypt(seed, patient);
  store.replaceManifest('keys: nonsense\n');
  await rejectsWithCode(() => service.decrypt({ ciphertext }, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await service.close();
});

test.run();
