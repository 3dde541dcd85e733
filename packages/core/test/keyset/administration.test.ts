import { FakeClock, FakeKeysetStore, rejectsWithCode, version1Manifest } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
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

test('a key is made before the manifest names it', async () => {
  const { admin, log } = recording();
  await generateKey(admin);
  await generateKey(admin);
  assert.equal(log, ['createKey', 'writeManifest', 'createKey', 'writeManifest']);
});

test('a keyset has 1,000 keys at most: one more is refused before a key is made', async () => {
  const store = new FakeKeysetStore();
  const first = await generateKey(store, { clock });
  const entry = first.after.keys[0]!;
  const others = Array.from({ length: 999 }, (_, index) => ({ ...entry, id: `k-${index}`, state: 'pending' as const }));
  store.replaceManifest(formatManifest({ ...first.after, keys: [entry, ...others] }));
  let made = 0;
  const admin: KeysetAdmin = {
    readManifest: () => store.readManifest(),
    createKey: (keyId, contextId) => (made++, store.createKey(keyId, contextId)),
    writeManifest: (manifest, revision) => store.writeManifest(manifest, revision),
    destroyKey: (keyId) => store.destroyKey(keyId),
  };
  for (const dryRun of [false, true])
    await rejectsWithCode(() => generateKey(admin, { dryRun }), 'ERR_KMS_KEYSET_RULE');
  assert.is(made, 0);
  assert.is((await store.readManifest())!.manifest.keys.length, 1_000);
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
  await rejectsWithCode(() => convertKeyset(store, new Map()), 'ERR_KMS_KEYSET_INVALID');
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

test('nothing can be changed where there is no keyset, and the error says what to do', async () => {
  const { admin } = recording();
  for (const change of [promoteKey, retireKey, restoreKey, destroyRetiredKey]) {
    const error = await rejectsWithCode(() => change(admin, 'any'), 'ERR_KMS_KEYSET_RULE');
    assert.match(error.remedy ?? '', /keys generate/);
  }
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
