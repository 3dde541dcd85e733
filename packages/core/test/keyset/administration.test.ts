import { FakeClock, FakeKeysetStore, rejectsWithCode, version1Manifest } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../src/envelope/codec.ts';
import { KmsError } from '../../src/errors.ts';
import {
  convertKeyset,
  destroyRetiredKey,
  generateKey,
  promoteKey,
  restoreKey,
  retireKey,
} from '../../src/keyset/administration.ts';
import type { KeysetAdmin } from '../../src/keyset/keyset-source.ts';
import { KeyProof } from '../../src/keyset/key-proof.ts';
import { formatManifest } from '../../src/keyset/manifest.ts';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import { relationOf } from '../../src/keyset/succession.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { patient } from '../support/context.ts';
import { contentOf } from '../support/manifests.ts';

const clock = new FakeClock();

/** A store that notes the order of what is asked of it. */
function recording(): { admin: KeysetAdmin; log: string[] } {
  const [store, log] = [new FakeKeysetStore(), [] as string[]];
  const admin: KeysetAdmin = {
    readManifest: () => store.readManifest(),
    createKey: (keyId, contextId) => (log.push('createKey'), store.createKey(keyId, contextId)),
    writeManifest: (manifest, revision) => (log.push('writeManifest'), store.writeManifest(manifest, revision)),
    destroyKey: (keyId) => (log.push('destroyKey'), store.destroyKey(keyId)),
  };
  return { admin, log };
}

const plaintext = Buffer.from('a seed');

/** What the primary seals now, and the check that it opens. */
async function sealedBy(store: FakeKeysetStore): Promise<{ opens: () => Promise<void> }> {
  const { primary } = await store.load(patient);
  const { keyId } = primary;
  const envelope = decodeEnvelope(primary.seal(plaintext));
  return {
    opens: async () => assert.equal((await store.load(patient)).find(keyId).open(envelope), plaintext),
  };
}

test('a key is made before the manifest names it', async () => {
  const { admin, log } = recording();
  await generateKey(admin);
  await generateKey(admin);
  assert.equal(log, ['createKey', 'writeManifest', 'createKey', 'writeManifest']);
});

test('a keyset gets 250 keys at most: one more is refused before a key is made, until one is retired and destroyed a week later', async () => {
  const store = new FakeKeysetStore();
  const first = await generateKey(store, { clock });
  const entry = first.after.keys[0]!;
  const others = Array.from({ length: 249 }, (_, index) => ({ ...entry, id: `k-${index}`, state: 'pending' as const }));
  store.replaceManifest(formatManifest({ ...first.after, keys: [entry, ...others] }));
  let made = 0;
  const admin: KeysetAdmin = {
    readManifest: () => store.readManifest(),
    createKey: (keyId, contextId) => (made++, store.createKey(keyId, contextId)),
    writeManifest: (manifest, revision) => store.writeManifest(manifest, revision),
    destroyKey: (keyId) => store.destroyKey(keyId),
  };
  for (const dryRun of [false, true]) {
    const { remedy } = await rejectsWithCode(() => generateKey(admin, { dryRun }), 'ERR_KMS_KEYSET_RULE');
    assert.match(remedy ?? '', 'retire keys that nothing needs any more, and destroy them a week later');
  }
  assert.is(made, 0);
  assert.is((await store.readManifest())!.manifest.keys.length, 250);
  const before = await sealedBy(store);
  await retireKey(admin, 'k-7', { clock });
  await clock.advance(7 * 24 * 3_600_000);
  await destroyRetiredKey(admin, 'k-7', { clock });
  await generateKey(admin, { clock });
  await before.opens();
});

test('a keyset of 1,000 keys, as older plugins may have written it, is read and changed, and its keys open', async () => {
  const store = new FakeKeysetStore();
  const { after } = await generateKey(store, { clock });
  const entry = after.keys[0]!;
  const others = Array.from({ length: 999 }, (_, index) => ({ ...entry, id: `k-${index}`, state: 'retired' as const }));
  store.replaceManifest(formatManifest({ ...after, keys: [entry, ...others] }));
  const sealed = await sealedBy(store);
  await destroyRetiredKey(store, 'k-7', { clock, graceMs: 0 });
  assert.is((await store.readManifest())!.manifest.keys.length, 999);
  await sealed.opens();
});

test('a key is destroyed after the manifest has dropped it', async () => {
  const { admin, log } = recording();
  await generateKey(admin);
  const { keyId } = await generateKey(admin);
  await retireKey(admin, keyId);
  log.length = 0;
  await destroyRetiredKey(admin, keyId, { graceMs: 0 });
  assert.equal(log, ['writeManifest', 'destroyKey']);
});

test('a change says what was before and what is after', async () => {
  const { admin } = recording();
  const first = await generateKey(admin, { clock });
  assert.is(first.before, undefined);
  assert.is(first.after.primary, first.keyId);
  const second = await generateKey(admin, { clock });
  assert.equal(contentOf(second.before as StoredManifest), first.after);
  assert.equal(contentOf((await admin.readManifest())!.manifest), second.after);
});

test('each change counts the generation and names the manifest that it replaces', async () => {
  const { admin } = recording();
  const { keyId } = await generateKey(admin, { clock });
  const hashes = [(await admin.readManifest())!.manifest.hash];
  const second = await generateKey(admin, { clock });
  hashes.push((await admin.readManifest())!.manifest.hash);
  await promoteKey(admin, second.keyId, { clock });
  hashes.push((await admin.readManifest())!.manifest.hash);
  const { after } = await retireKey(admin, keyId, { clock });
  assert.is(after.generation, 4);
  assert.is(after.replaces, hashes.at(-1));
  assert.is(new Set(hashes).size, 3);
});

test('a keyset of version 1 stays one, and its new keys have no check value', async () => {
  const store = new FakeKeysetStore();
  store.replaceManifest(formatManifest(version1Manifest('old')));
  const { after, keyId } = await generateKey(store, { clock });
  assert.equal([after.formatVersion, after.generation, after.replaces], [1, 0, undefined]);
  const stored = (await store.readManifest())!.manifest;
  assert.is(stored.keys.find(({ id }) => id === keyId)?.check, undefined);
});

test('the evidence is checked on the manifest that is changed, and without it nothing is changed', async () => {
  const { admin, log } = recording();
  await generateKey(admin, { clock });
  const { keyId } = await generateKey(admin, { clock });
  const current = (await admin.readManifest())!.manifest;
  log.length = 0;
  const seen: StoredManifest[] = [];
  const check = (manifest: StoredManifest): void => {
    seen.push(manifest);
    throw new KmsError('ERR_KMS_KEYSET_RULE', 'no evidence');
  };
  for (const change of [promoteKey, retireKey]) {
    await rejectsWithCode(() => change(admin, keyId, { clock, check }), 'ERR_KMS_KEYSET_RULE');
  }
  assert.equal(seen, [current, current]);
  assert.equal(log, []);
});

test('a keyset of version 1 is converted: keys in use get a check value, retired ones have none', async () => {
  const store = new FakeKeysetStore();
  store.replaceManifest(formatManifest(version1Manifest('old')));
  const { keyId } = await generateKey(store, { clock });
  await retireKey(store, keyId, { clock });
  const before = (await store.readManifest())!.manifest;
  const key = new SecretBytes(randomBytes(32));
  const proof = new KeyProof(key, Buffer.from(before.contextId, 'hex'), 'old');
  const { remedy } = await rejectsWithCode(() => convertKeyset(store, new Map()), 'ERR_KMS_KEYSET_INVALID');
  assert.match(remedy ?? '', 'restore the key first');
  const { after } = await convertKeyset(store, new Map([['old', proof]]));
  assert.equal([after.formatVersion, after.generation, after.replaces], [2, 1, before.hash]);
  assert.equal(
    after.keys.map(({ check }) => check),
    [proof.check, undefined],
  );
  const stored = (await store.readManifest())!.manifest;
  assert.is(relationOf(stored, before), 'newer');
  await rejectsWithCode(() => convertKeyset(store, new Map()), 'ERR_KMS_KEYSET_RULE');
});

test('no new keyset is made beside keys whose manifest is gone: they are named, and the manifest is to be restored', async () => {
  const { admin, log } = recording();
  let found = ['/keys/a.key', '/keys/b.key'];
  admin.orphans = () => Promise.resolve(found);
  for (const dryRun of [true, false]) {
    const error = await rejectsWithCode(() => generateKey(admin, { dryRun }), 'ERR_KMS_KEYSET_RULE');
    assert.match(error.message, '/keys/a.key, /keys/b.key');
    assert.match(error.remedy ?? '', /^restore the manifest of these keys from another node, or from the backup/);
  }
  assert.equal(log, []);
  found = [];
  await generateKey(admin);
  found = ['/keys/c.key'];
  await generateKey(admin);
});

test('the manifest notes what was done without evidence, the latest notes at least', async () => {
  const store = new FakeKeysetStore();
  const notes = async () => (await store.readManifest())!.manifest.rotation?.['unverified'];
  const { keyId: first } = await generateKey(store, { clock });
  const { keyId: second } = await generateKey(store, { clock });
  await promoteKey(store, second, { clock, check: () => undefined });
  assert.is(await notes(), undefined);
  const time = new Date(clock.wall()).toISOString();
  await retireKey(store, first, { clock, unverified: true });
  assert.is(await notes(), `retire ${first} ${time}`);
  for (let count = 0; count < 30; count++) {
    await restoreKey(store, first, { clock });
    await retireKey(store, first, { clock, unverified: true });
  }
  const { keyId: third } = await generateKey(store, { clock });
  await promoteKey(store, third, { clock, unverified: true });
  assert.match((await notes())!, new RegExp(`^retire .*; promote ${third} ${time}$`));
});

test('a conversion without evidence is noted', async () => {
  const store = new FakeKeysetStore();
  store.replaceManifest(formatManifest(version1Manifest('old')));
  const { contextId } = (await store.readManifest())!.manifest;
  const proof = new KeyProof(new SecretBytes(randomBytes(32)), Buffer.from(contextId, 'hex'), 'old');
  const { after } = await convertKeyset(store, new Map([['old', proof]]), { clock, unverified: true });
  assert.is(after.rotation?.['unverified'], `convert ${new Date(clock.wall()).toISOString()}`);
});

test('nothing can be changed where there is no keyset, until one is made', async () => {
  const { admin } = recording();
  for (const change of [promoteKey, retireKey, restoreKey, destroyRetiredKey]) {
    const error = await rejectsWithCode(() => change(admin, 'any'), 'ERR_KMS_KEYSET_RULE');
    assert.match(error.remedy ?? '', /keys generate/);
  }
  await generateKey(admin);
  await promoteKey(admin, (await generateKey(admin)).keyId);
});

test('a former primary never seals again: a new key is made in its place', async () => {
  const store = new FakeKeysetStore();
  const { keyId } = await generateKey(store);
  const before = await sealedBy(store);
  await promoteKey(store, (await generateKey(store)).keyId);
  const { remedy } = await rejectsWithCode(() => promoteKey(store, keyId), 'ERR_KMS_KEYSET_RULE');
  assert.is(remedy, 'make a new key with "teapot-kms keys generate"');
  await promoteKey(store, (await generateKey(store)).keyId);
  await before.opens();
});

test('the primary is retired once another key is promoted and all data is rewritten', async () => {
  const store = new FakeKeysetStore();
  const { keyId } = await generateKey(store);
  const { remedy } = await rejectsWithCode(() => retireKey(store, keyId), 'ERR_KMS_KEYSET_RULE');
  assert.is(remedy, 'first promote another key and rewrite all data');
  await promoteKey(store, (await generateKey(store)).keyId);
  const rewritten = await sealedBy(store);
  await retireKey(store, keyId);
  await rewritten.opens();
});

test('a retired key that something needs comes back until a time, and is destroyed after it', async () => {
  const store = new FakeKeysetStore();
  const { keyId } = await generateKey(store, { clock });
  const before = await sealedBy(store);
  await promoteKey(store, (await generateKey(store, { clock })).keyId, { clock });
  await retireKey(store, keyId, { clock });
  const { remedy } = await rejectsWithCode(() => destroyRetiredKey(store, keyId, { clock }), 'ERR_KMS_KEYSET_RULE');
  const [, time] = /^wait until (\S+); until then "teapot-kms keys restore \S+" brings it back$/.exec(remedy!)!;
  await restoreKey(store, keyId, { clock });
  await before.opens();
  await retireKey(store, keyId, { clock });
  await clock.advance(Date.parse(time!) - clock.wall());
  await destroyRetiredKey(store, keyId, { clock });
});

test('a dry run of any change asks the store for nothing but the manifest, and still checks the rules', async () => {
  const { admin, log } = recording();
  const first = await generateKey(admin);
  const second = await generateKey(admin);
  await retireKey(admin, second.keyId);
  log.length = 0;
  const dryRun = true;
  await generateKey(admin, { dryRun });
  await restoreKey(admin, second.keyId, { dryRun });
  await destroyRetiredKey(admin, second.keyId, { dryRun, graceMs: 0 });
  await rejectsWithCode(() => retireKey(admin, first.keyId, { dryRun }), 'ERR_KMS_KEYSET_RULE');
  await rejectsWithCode(() => promoteKey(admin, second.keyId, { dryRun }), 'ERR_KMS_KEYSET_RULE');
  assert.equal(log, []);
});

test.run();
