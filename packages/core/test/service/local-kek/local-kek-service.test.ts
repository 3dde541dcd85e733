import { assertNoSecret, FakeToken, rejectsWithCode, settle } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../../src/envelope/codec.ts';
import { KmsError } from '../../../src/errors.ts';
import { patient } from '../../support/context.ts';
import { makeLocal, sealedElsewhere, startLocal } from '../../support/local-kek-service.ts';
import { startService } from '../../support/keyset-service.ts';

const seed = randomBytes(32);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

test('what is encrypted is decrypted, under the key that Status names', async () => {
  const { service, primary } = await startLocal();
  const { ciphertext, keyId } = await service.encrypt(seed, patient);
  assert.is(keyId, primary);
  assert.equal(await service.status(), { healthz: 'ok', keyId: primary });
  assert.equal(await service.decrypt({ ciphertext, keyId }, patient), seed);
  await service.close();
});

test('sealing and opening with what is in memory never asks the token', async () => {
  const { service, remote } = await startLocal();
  const encrypted = service.encrypt(seed, patient);
  assert.not(encrypted instanceof Promise);
  if (!(encrypted instanceof Promise)) {
    assert.not(service.decrypt({ ciphertext: encrypted.ciphertext }, patient) instanceof Promise);
  }
  assert.equal([remote.wrapping.calls, remote.unwrapping.calls], [1, 0]);
  await service.close();
});

test('a replica opens what another sealed, with one unwrap for each local KEK', async () => {
  const sealer = await startLocal();
  const opener = await startLocal({ token: sealer.token });
  for (let i = 0; i < 50; i++) {
    const { ciphertext, keyId } = await sealer.service.encrypt(seed, patient);
    assert.equal(await opener.service.decrypt({ ciphertext, keyId }, patient), seed);
  }
  assert.is(opener.remote.unwrapping.calls, 1);
  await sealer.service.close();
  await opener.service.close();
});

test('an envelope of a keyset does not open here, nor one of ours there', async () => {
  const [local, keyset] = [await startLocal(), await startService()];
  const ours = await local.service.encrypt(seed, patient);
  const theirs = await keyset.service.encrypt(seed, patient);
  const code = 'ERR_KMS_AUTHENTICATION_FAILED';
  await rejectsWithCode(() => local.service.decrypt({ ciphertext: theirs.ciphertext }, patient), code);
  await rejectsWithCode(() => keyset.service.decrypt({ ciphertext: ours.ciphertext }, patient), code);
  await local.service.close();
  await keyset.service.close();
});

test('a wrapped local KEK with a changed bit is refused by the token, and never cached', async () => {
  const { service } = await startLocal();
  const { ciphertext } = await service.encrypt(seed, patient);
  const at = decodeEnvelope(ciphertext).header.length - 1;
  const before = service.describe().cacheEntries;
  for (let bit = 0; bit < 8; bit++) {
    const changed = Buffer.from(ciphertext);
    changed[at]! ^= 1 << bit;
    await rejectsWithCode(() => service.decrypt({ ciphertext: changed }, patient), 'ERR_KMS_UNWRAP_FAILED');
  }
  assert.is(service.describe().cacheEntries, before);
  await service.close();
});

test('an unwrapped key that has not 32 bytes is refused and wiped', async () => {
  const { service, remote, token } = await startLocal();
  const [sealed] = await sealedElsewhere(token, 1);
  const real = remote.unwrap.bind(remote);
  remote.unwrap = async (...args) => {
    const key = await real(...args);
    Object.defineProperty(key, 'length', { value: 31 });
    return key;
  };
  await rejectsWithCode(() => service.decrypt(sealed!, patient), 'ERR_KMS_UNWRAP_FAILED');
  assert.equal(remote.givenOut[0]!.expose(), Buffer.alloc(32));
  await service.close();
});

test('every key that the token gives out is wiped', async () => {
  const { service, remote, token } = await startLocal();
  for (const sealed of await sealedElsewhere(token, 20)) {
    assert.equal(await service.decrypt(sealed, patient), sealed.plaintext);
  }
  assert.is(remote.givenOut.length, 20);
  for (const key of remote.givenOut) assert.equal(key.expose(), Buffer.alloc(32));
  await service.close();
});

test('a new version of the key seals as soon as the probe has seen it, and the old one still opens', async () => {
  const { service, token, clock, events, primary: old } = await startLocal();
  const { ciphertext } = await service.encrypt(seed, patient);
  token.promote(token.add('new-version'));
  await clock.advance(40_000);
  assert.is((await service.status()).keyId, 'new-version');
  assert.is((await service.encrypt(seed, patient)).keyId, 'new-version');
  assert.equal(await service.decrypt({ ciphertext, keyId: old }, patient), seed);
  const switches = events.events.filter((event) => event.type === 'key-switched');
  assert.equal(switches, [
    { type: 'key-switched', from: undefined, to: old },
    { type: 'key-switched', from: old, to: 'new-version' },
  ]);
  assert.is(service.describe().counters['key_switches'], 1);
  await service.close();
});

test('an Encrypt soon after a Status answers with the key that Status announced', async () => {
  const { service, token, clock, primary: old } = await startLocal();
  token.promote(token.add('new-version'));
  await clock.advance(40_000);
  const { ciphertext, keyId } = await service.encrypt(seed, { ...patient, announcedKeyId: old });
  assert.is(keyId, old);
  assert.equal(await service.decrypt({ ciphertext, keyId }, patient), seed);
  assert.is((await service.encrypt(seed, { ...patient, announcedKeyId: 'unheard-of' })).keyId, 'new-version');
  await service.close();
});

test('a new version whose wrap fails leaves the old one announced and sealing', async () => {
  const { service, token, clock, remote, primary: old } = await startLocal();
  token.promote(token.add('new-version'));
  remote.wrapping.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  await clock.advance(MINUTE);
  assert.equal(await service.status(), { healthz: 'ok', keyId: old });
  assert.is((await service.encrypt(seed, patient)).keyId, old);
  remote.wrapping.failWith = undefined;
  await clock.advance(MINUTE);
  assert.is((await service.status()).keyId, 'new-version');
  await service.close();
});

test('a wrap that comes after its time does not bring an old version back', async () => {
  const { service, token, clock, remote } = await startLocal({ operationTimeoutMs: 5_000, softAgeMs: MINUTE });
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const real = remote.wrap.bind(remote);
  let held = 0;
  remote.wrap = async (...args) => {
    const wrapped = await real(...args);
    if (args[0] !== 'new-version') {
      held++;
      await promise;
    }
    return wrapped;
  };
  // The renewal by age under the old version is held beyond its time ...
  await clock.advance(100_000);
  assert.ok(held > 0);
  token.promote(token.add('new-version'));
  await clock.advance(MINUTE);
  assert.is((await service.status()).keyId, 'new-version');
  // ... and ends when another version seals already.
  resolve(undefined);
  await settle();
  assert.is((await service.status()).keyId, 'new-version');
  assert.is((await service.encrypt(seed, patient)).keyId, 'new-version');
  await service.close();
});

test('the local KEK that seals is replaced when it reaches its soft age, in the background', async () => {
  const { service, remote, clock, primary } = await startLocal({ softAgeMs: HOUR });
  const wrappedOf = async () =>
    decodeEnvelope((await service.encrypt(seed, patient)).ciphertext).wrapped.toString('hex');
  const first = await wrappedOf();
  await clock.advance(HOUR - MINUTE);
  assert.is(await wrappedOf(), first);
  await clock.advance(2 * MINUTE);
  assert.is.not(await wrappedOf(), first);
  assert.equal([remote.wrapping.calls, (await service.status()).keyId], [2, primary]);
  await service.close();
});

test('after a renewal by age the announced id is sealed with the younger local KEK', async () => {
  const { service, clock, primary } = await startLocal({ softAgeMs: HOUR });
  await clock.advance(HOUR + MINUTE);
  const wrapped = async (announcedKeyId?: string) =>
    decodeEnvelope((await service.encrypt(seed, { ...patient, announcedKeyId })).ciphertext).wrapped.toString('hex');
  assert.is(await wrapped(primary), await wrapped());
  await service.close();
});

test('unknown versions are looked for once, and told once', async () => {
  const { service, remote, events } = await startLocal();
  const other = await startLocal();
  const { ciphertext } = await other.service.encrypt(seed, patient);
  const outcomes = await Promise.allSettled(
    Array.from({ length: 1_000 }, async () => service.decrypt({ ciphertext }, patient)),
  );
  assert.ok(
    outcomes.every(
      (one) => one.status === 'rejected' && (one.reason as { code: string }).code === 'ERR_KMS_UNKNOWN_KEY',
    ),
  );
  assert.is(remote.describing.calls, 2);
  assert.is(remote.unwrapping.calls, 0);
  assert.is(events.types().filter((type) => type === 'unknown-key').length, 1);
  await service.close();
  await other.service.close();
});

test('an unknown version is looked for again only after five seconds', async () => {
  const { service, remote, clock } = await startLocal();
  const [sealed] = await sealedElsewhere(new FakeToken(), 1);
  for (let i = 0; i < 10; i++) await rejectsWithCode(() => service.decrypt(sealed!, patient), 'ERR_KMS_UNKNOWN_KEY');
  assert.is(remote.describing.calls, 2);
  await clock.advance(5_000);
  await rejectsWithCode(() => service.decrypt(sealed!, patient), 'ERR_KMS_UNKNOWN_KEY');
  assert.is(remote.describing.calls, 3);
  await service.close();
});

test('a version that another replica uses already is found by one look at the token', async () => {
  const { service, remote, token } = await startLocal();
  token.promote(token.add('new-version'));
  const [sealed] = await sealedElsewhere(token, 1);
  assert.is(sealed!.keyId, 'new-version');
  assert.equal(await service.decrypt(sealed!, patient), sealed!.plaintext);
  assert.is(remote.describing.calls, 2);
  await service.close();
});

test('a request that names another key than its ciphertext is refused before the token is asked', async () => {
  const { service, remote, token } = await startLocal();
  const [sealed] = await sealedElsewhere(token, 1);
  const request = { ciphertext: sealed!.ciphertext, keyId: 'other' };
  await rejectsWithCode(() => service.decrypt(request, patient), 'ERR_KMS_KEY_ID_MISMATCH');
  assert.is(remote.unwrapping.calls, 0);
  await service.close();
});

test('calls wait for the first answer of the token, a second at most', async () => {
  const { service, remote, clock } = makeLocal();
  remote.describing.hang = true;
  service.start();
  const calls = [service.status(), service.encrypt(seed, patient)].map((call) => Promise.resolve(call));
  const outcomes = Promise.allSettled(calls);
  await clock.advance(1_000);
  // Encrypt has one more look, which hangs: its caller's deadline ends it.
  assert.is(remote.describing.calls, 1);
  await clock.advance(40_000);
  for (const outcome of await outcomes) assert.is(outcome.status, 'rejected');
  await service.close();
});

test('describe shows versions, counters and nothing secret', async () => {
  const { service, token, primary } = await startLocal();
  const { ciphertext } = await service.encrypt(seed, patient);
  await service.decrypt({ ciphertext }, patient);
  const description = service.describe();
  assert.equal(description.keys, [{ id: primary, state: 'promoted', decrypts: 1, verified: true }]);
  assert.is(description.counters['wraps'], 1);
  assert.is(description.counters['cache_hits'], 1);
  assert.equal(JSON.parse(JSON.stringify(description)), description);
  assertNoSecret(description, token.keyOf(primary));
  assertNoSecret(service, seed);
  await service.close();
});

test('after close every call fails and the token is closed', async () => {
  const { service, remote, clock } = await startLocal();
  const { ciphertext } = await service.encrypt(seed, patient);
  await service.close();
  await rejectsWithCode(() => service.encrypt(seed, patient), 'ERR_KMS_CLOSED');
  await rejectsWithCode(() => service.decrypt({ ciphertext }, patient), 'ERR_KMS_CLOSED');
  await rejectsWithCode(() => service.status(), 'ERR_KMS_CLOSED');
  assert.ok(remote.closed);
  await clock.advance(HOUR);
  assert.equal([remote.describing.calls, clock.pending], [1, 0]);
});

test('an unwrap that is under way at close fails for its caller, and its key is wiped', async () => {
  const { service, remote, token } = await startLocal();
  const [sealed] = await sealedElsewhere(token, 1);
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const real = remote.unwrap.bind(remote);
  remote.unwrap = async (...args) => {
    const key = await real(...args);
    await promise;
    return key;
  };
  const waiting = service.decrypt(sealed!, patient);
  await settle();
  await service.close();
  resolve(undefined);
  await rejectsWithCode(() => waiting, 'ERR_KMS_CLOSED');
  assert.equal(remote.givenOut[0]!.expose(), Buffer.alloc(32));
});

test('with damage in the token an unknown key is unknown all the same, and the probe goes on as usual', async () => {
  const { service, remote, token, clock } = await startLocal();
  const [sealed] = await sealedElsewhere(new FakeToken(), 1);
  const describe = token.describe.bind(token);
  const error = new KmsError('ERR_KMS_KEY_GONE', 'a key that only unwraps');
  token.describe = () => ({ ...describe(), damaged: { error, answered: true, primary: false } });
  for (let i = 0; i < 5; i++) {
    await rejectsWithCode(() => service.decrypt({ ciphertext: sealed!.ciphertext }, patient), 'ERR_KMS_UNKNOWN_KEY');
  }
  assert.is(remote.describing.calls, 2);
  await clock.advance(20_000);
  assert.is(remote.describing.calls, 2, 'no back-off');
  assert.match(service.describe().warnings.join(), 'a key that only unwraps');
  assert.is(service.describe().counters['probe_failures'], 0);
  await service.close();
});

test('where damage hides which keys there are, nobody says that an unknown key is not there', async () => {
  const { service, token } = await startLocal();
  const [sealed] = await sealedElsewhere(new FakeToken(), 1);
  const describe = token.describe.bind(token);
  const error = new KmsError('ERR_KMS_KEYSET_INVALID', 'keyset.yaml:3: damaged');
  token.describe = () => ({ ...describe(), damaged: { error, answered: false, primary: false } });
  await rejectsWithCode(
    () => service.decrypt({ ciphertext: sealed!.ciphertext }, patient),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.is((await service.status()).healthz, 'ok');
  await service.close();
});

test.run();
