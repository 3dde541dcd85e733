import { assertNoSecret, FaultInjectingSource, rejectsWithCode, settle } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { generateKey, retireKey } from '../../src/keyset/administration.ts';
import { KeyProof } from '../../src/keyset/key-proof.ts';
import { KeysetService } from '../../src/service/keyset-service.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { impatient, patient } from '../support/context.ts';
import { makeKey } from '../support/keys.ts';
import { makeService, rotate, startService } from '../support/keyset-service.ts';

const seed = randomBytes(32);

test('what is encrypted is decrypted, under the key that Status names', async () => {
  const { service, primary } = await startService();
  const { ciphertext, keyId } = await service.encrypt(seed, patient);
  assert.is(keyId, primary);
  assert.equal(await service.status(), { healthz: 'ok', keyId: primary });
  assert.equal(await service.decrypt({ ciphertext, keyId }, patient), seed);
  assert.equal(await service.decrypt({ ciphertext }, patient), seed);
  await service.close();
});

test('once the keyset is there, calls answer at once and never ask the store', async () => {
  const { service, source } = await startService();
  source.loading.hang = true;
  const encrypted = service.encrypt(seed, patient);
  assert.not(encrypted instanceof Promise);
  if (!(encrypted instanceof Promise)) {
    assert.not(service.decrypt({ ciphertext: encrypted.ciphertext }, patient) instanceof Promise);
  }
  assert.not(service.status() instanceof Promise);
  assert.is(source.loading.calls, 1);
  await service.close();
});

test('two replicas open each other’s', async () => {
  const { service, source } = await startService();
  const other = new KeysetService({ source: new FaultInjectingSource(source.admin) });
  other.start();
  const { ciphertext, keyId } = await other.encrypt(seed, patient);
  assert.equal(await service.decrypt({ ciphertext, keyId }, patient), seed);
  await service.close();
  await other.close();
});

test('an Encrypt soon after a Status answers with the key that Status announced', async () => {
  const started = await startService();
  const { service, primary: old } = started;
  const primary = await rotate(started);
  const { ciphertext, keyId } = await service.encrypt(seed, { ...patient, announcedKeyId: old });
  assert.is(keyId, old);
  assert.equal(await service.decrypt({ ciphertext, keyId: old }, patient), seed);
  assert.is((await service.encrypt(seed, patient)).keyId, primary);
  await service.close();
});

test('an announced id that never was the primary does not seal', async () => {
  const started = await startService();
  const { service, store, primary } = started;
  const pending = await generateKey(store);
  await settle();
  for (const announcedKeyId of [pending.keyId, 'unheard-of', '']) {
    assert.is((await service.encrypt(seed, { ...patient, announcedKeyId })).keyId, primary);
  }
  await service.close();
});

test('a former primary still opens, a retired one does not', async () => {
  const started = await startService();
  const { service, store, primary: old } = started;
  const { ciphertext } = await service.encrypt(seed, patient);
  await rotate(started);
  assert.equal(await service.decrypt({ ciphertext, keyId: old }, patient), seed);
  await retireKey(store, old);
  await settle();
  await rejectsWithCode(() => service.decrypt({ ciphertext, keyId: old }, patient), 'ERR_KMS_KEY_RETIRED');
  await service.close();
});

test('a switch of the primary is told once, with both ids, and counted', async () => {
  const started = await startService();
  const { service, events, primary: old } = started;
  const primary = await rotate(started);
  await started.clock.advance(300_000);
  const switches = events.events.filter((event) => event.type === 'key-switched');
  assert.equal(switches, [
    { type: 'key-switched', from: undefined, to: old },
    { type: 'key-switched', from: old, to: primary },
  ]);
  assert.is(service.describe().counters['key_switches'], 1);
  await service.close();
});

test('a request that names another key than its ciphertext is refused', async () => {
  const { service } = await startService();
  const { ciphertext } = await service.encrypt(seed, patient);
  await rejectsWithCode(() => service.decrypt({ ciphertext, keyId: 'other' }, patient), 'ERR_KMS_KEY_ID_MISMATCH');
  await rejectsWithCode(() => service.decrypt({ ciphertext, keyId: '' }, patient), 'ERR_KMS_KEY_ID_MISMATCH');
  await service.close();
});

test('an envelope with a wrapped local KEK is refused before its key is looked for', async () => {
  const { service, source } = await startService();
  const ciphertext = makeKey({ keyId: 'unknown', wrapped: Buffer.alloc(60) }).seal(seed);
  await rejectsWithCode(() => service.decrypt({ ciphertext }, patient), 'ERR_KMS_AUTHENTICATION_FAILED');
  assert.is(source.loading.calls, 1);
  await service.close();
});

test('an empty plaintext is refused', async () => {
  const { service } = await startService();
  await rejectsWithCode(() => service.encrypt(Buffer.alloc(0), patient), 'ERR_KMS_LIMIT_EXCEEDED');
  await service.close();
});

test('another tenant’s ciphertext does not open, though its key id is the same', async () => {
  const [ours, theirs] = [await startService(), await startService()];
  const { ciphertext } = await theirs.service.encrypt(seed, patient);
  // Their key under their id in our keyset: only the context id tells the two apart.
  const key = theirs.store.readBlob(theirs.primary)!;
  const contextId = Buffer.from((await ours.store.readManifest())!.manifest.contextId, 'hex');
  const { check } = new KeyProof(new SecretBytes(key), contextId, theirs.primary);
  const text = ours.store
    .manifestText!.replaceAll(ours.primary, theirs.primary)
    .replace(/check: .*/, `check: "${check}"`);
  ours.store.putBlob(theirs.primary, key);
  ours.store.replaceManifest(text);
  await settle();
  assert.is((await ours.service.status()).keyId, theirs.primary);
  await rejectsWithCode(() => ours.service.decrypt({ ciphertext }, patient), 'ERR_KMS_AUTHENTICATION_FAILED');
  await ours.service.close();
  await theirs.service.close();
});

test('a hint of the store is followed by a load', async () => {
  const { service, source } = await startService();
  for (const onChange of source.admin.watchers) onChange();
  await settle();
  assert.is(source.loading.calls, 2);
  await service.close();
});

test('the store is looked at in every interval, and by one load at a time', async () => {
  const { service, source, clock } = await startService({ probeIntervalMs: 30_000 });
  await clock.advance(10 * 60_000);
  // 30 s, jittered by a quarter.
  assert.ok(source.loading.calls >= 16 && source.loading.calls <= 27, String(source.loading.calls));
  assert.is(source.loading.mostUnderWay, 1);
  await service.close();
});

test('of each keyset that is replaced the keys are wiped', async () => {
  const { service, source, clock } = await startService();
  await clock.advance(120_000);
  const before = source.givenOut.slice(0, -1);
  assert.ok(before.length > 1);
  for (const keyset of before) await rejectsWithCode(() => keyset.primary.seal(seed), 'ERR_KMS_CLOSED');
  source.givenOut.at(-1)!.primary.seal(seed);
  await service.close();
});

test('close wipes the keys, ends watch and timers, and all calls fail from then on', async () => {
  const { service, source, store, clock } = await startService();
  const { ciphertext } = await service.encrypt(seed, patient);
  await service.close();
  await service.close();
  await rejectsWithCode(() => source.givenOut[0]!.primary.seal(seed), 'ERR_KMS_CLOSED');
  await rejectsWithCode(() => service.encrypt(seed, patient), 'ERR_KMS_CLOSED');
  await rejectsWithCode(() => service.decrypt({ ciphertext }, patient), 'ERR_KMS_CLOSED');
  await rejectsWithCode(() => service.status(), 'ERR_KMS_CLOSED');
  assert.is(store.watchers.size, 0);
  await clock.advance(600_000);
  assert.is(source.loading.calls, 1);
  assert.is(clock.pending, 0);
});

test('a keyset that arrives after close is wiped', async () => {
  const { service, source } = await makeService();
  const release = source.loading.hold();
  service.start();
  await settle();
  await service.close();
  release();
  await settle();
  assert.is(source.givenOut.length, 1);
  await rejectsWithCode(() => source.givenOut[0]!.primary.seal(seed), 'ERR_KMS_CLOSED');
});

test('calls that wait for the first load fail when the service is closed', async () => {
  const { service, source } = await makeService();
  source.loading.hang = true;
  service.start();
  const waiting = service.encrypt(seed, patient);
  await service.close();
  await rejectsWithCode(() => waiting, 'ERR_KMS_CLOSED');
});

test('describe shows uri, keys, how often each opened, and nothing secret', async () => {
  const started = await startService();
  const { service, store, primary } = started;
  const { ciphertext } = await service.encrypt(seed, patient);
  for (let i = 0; i < 3; i++) await service.decrypt({ ciphertext }, patient);
  await rejectsWithCode(() => service.decrypt({ ciphertext: Buffer.from('x') }, patient), 'ERR_KMS_ENVELOPE_MALFORMED');
  const description = service.describe();
  assert.is(description.uri, 'fake:keyset');
  assert.is(description.primary, primary);
  assert.equal(description.keys, [{ id: primary, state: 'promoted', decrypts: 3, verified: true }]);
  assert.equal(description.warnings, []);
  assert.equal(JSON.parse(JSON.stringify(description)), description);
  for (const shown of [description, service]) {
    assertNoSecret(shown, store.readBlob(primary)!);
    assertNoSecret(shown, seed);
  }
  await service.close();
});

test('a caller who gives up while an unknown key is looked for gets an answer at once', async () => {
  const { service, source } = await startService();
  const { ciphertext } = await (await startService()).service.encrypt(seed, patient);
  source.loading.hang = true;
  const [tired, late] = [impatient(), impatient()];
  const answers = [service.decrypt({ ciphertext }, tired), service.decrypt({ ciphertext }, late)] as const;
  tired.giveUp();
  late.giveUp(new DOMException('late', 'TimeoutError'));
  await rejectsWithCode(() => answers[0], 'ERR_KMS_CANCELLED');
  await rejectsWithCode(() => answers[1], 'ERR_KMS_DEADLINE_EXCEEDED');
  await service.close();
});

test('what is no KmsError in a store becomes one that is unavailable', async () => {
  const { service, source } = await makeService();
  source.load = () => Promise.reject(new TypeError('broken'));
  service.start();
  const error = await rejectsWithCode(() => service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.not.match(error.message, /broken/);
  assert.instance(error.cause, KmsError);
  await service.close();
});

test.run();
