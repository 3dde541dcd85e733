import { FakeClock, FakeKeysetStore, rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { destroyRetiredKey, generateKey, promoteKey, restoreKey, retireKey } from '../../src/keyset/administration.ts';
import type { KeysetAdmin } from '../../src/keyset/keyset-source.ts';
import { MIN_PENDING_MS } from '../../src/keyset/rotation.ts';

const clock = new FakeClock();

/** A store that notes the order of what is asked of it. */
function recording(): { admin: KeysetAdmin; log: string[] } {
  const [store, log] = [new FakeKeysetStore(), [] as string[]];
  const admin: KeysetAdmin = {
    readManifest: () => store.readManifest(),
    createKey: (keyId) => (log.push('createKey'), store.createKey(keyId)),
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

test('a key is destroyed after the manifest has dropped it', async () => {
  const { admin, log } = recording();
  await generateKey(admin);
  const { keyId } = await generateKey(admin);
  await retireKey(admin, keyId);
  log.length = 0;
  await destroyRetiredKey(admin, keyId);
  assert.equal(log, ['writeManifest', 'destroyKey']);
});

test('a change says what was before and what is after', async () => {
  const { admin } = recording();
  const first = await generateKey(admin, { clock });
  assert.is(first.before, undefined);
  assert.is(first.after.primary, first.keyId);
  const second = await generateKey(admin, { clock });
  assert.equal(second.before, first.after);
  assert.equal((await admin.readManifest())?.manifest, second.after);
});

test('a pending key is not promoted before its time, by the clock', async () => {
  const { admin } = recording();
  await generateKey(admin, { clock });
  const { keyId } = await generateKey(admin, { clock });
  await rejectsWithCode(() => promoteKey(admin, keyId, { clock }), 'ERR_KMS_KEYSET_RULE');
  await clock.advance(MIN_PENDING_MS);
  const { after } = await promoteKey(admin, keyId, { clock });
  assert.is(after.primary, keyId);
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
  await destroyRetiredKey(admin, second.keyId, { dryRun });
  await rejectsWithCode(() => retireKey(admin, first.keyId, { dryRun }), 'ERR_KMS_KEYSET_RULE');
  await rejectsWithCode(() => promoteKey(admin, second.keyId, { dryRun }), 'ERR_KMS_KEYSET_RULE');
  assert.equal(log, []);
});

test.run();
