import { newDirectory } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostRecords } from '../../src/keyset/host-records.ts';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import { KeysetGuard } from '../../src/service/keyset-guard.ts';
import { first, foreign, fork, guardIn, hash, manifest, replaced, second } from '../support/guarded-manifests.ts';

test('with nothing held and nothing remembered, every keyset is used', async () => {
  assert.equal(await guardIn(newDirectory()).judge(first, undefined), { use: 'all' });
});

const held: [offered: StoredManifest, use: string][] = [
  [second, 'all'],
  [manifest(3, 'e', 'b'), 'all'],
  [first, 'nothing'],
  [fork, 'nothing'],
  [foreign, 'nothing'],
];
for (const [offered, use] of held) {
  test(`over a held keyset, generation ${offered.generation} with hash ${offered.hash[0]!}: ${use}`, async () => {
    const verdict = await guardIn(newDirectory()).judge(offered, second);
    assert.is(verdict.use, use);
    assert.is(verdict.problem?.code, use === 'all' ? undefined : 'ERR_KMS_KEYSET_STALE');
  });
}

const remembered: [offered: StoredManifest, use: string][] = [
  [second, 'all'],
  [manifest(3, 'e', 'b'), 'all'],
  [first, 'opening'],
  [fork, 'opening'],
  [foreign, 'nothing'],
];
for (const [offered, use] of remembered) {
  test(`at a start, generation ${offered.generation} with hash ${offered.hash[0]!}: ${use}`, async () => {
    const directory = newDirectory();
    await guardIn(directory).remember(second);
    const verdict = await guardIn(directory).judge(offered, undefined);
    assert.is(verdict.use, use);
    assert.match(verdict.problem?.remedy ?? 'keys confirm', /keys confirm/);
  });
}

test('an older keyset that only opens gives way to a newer one that only opens, and to no older one', async () => {
  const directory = newDirectory();
  const guard = guardIn(directory);
  await guard.remember(manifest(9, '9'));
  assert.is((await guard.judge(second, second, false)).use, 'opening');
  assert.is((await guard.judge(manifest(4, 'e'), second, false)).use, 'opening');
  const verdict = await guard.judge(first, second, false);
  assert.is(verdict.use, 'nothing');
  assert.match(
    verdict.problem?.message ?? '',
    /used generation 9. The keys in memory decrypt, and nothing is encrypted/,
  );
  assert.is((await guard.judge(manifest(10, 'f', '9'), second, false)).use, 'all');
});

/** Two generations after `second`, made from a copy of `first`: its primary was replaced by generation 2. */
const made = manifest(4, 'f', 'e');

test('a newer keyset whose primary was already replaced does not take the place of the keys in memory', async () => {
  const verdict = await guardIn(newDirectory()).judge(made, replaced);
  assert.is(verdict.use, 'nothing');
  assert.match(verdict.problem?.message ?? '', /generation 4 .* primary key-0 was already replaced here/);
});

test('at a start, a newer keyset whose primary was already replaced only opens', async () => {
  const directory = newDirectory();
  await guardIn(directory).remember(replaced);
  await guardIn(directory).remember({ ...replaced, generation: 3, hash: hash('c'), keys: replaced.keys.slice(1) });
  const verdict = await guardIn(directory).judge(made, undefined);
  assert.is(verdict.use, 'opening');
  await new HostRecords(directory).write('/run/kms.sock', made);
  assert.equal(await guardIn(directory).judge(manifest(5, 'd', 'f'), undefined), { use: 'all' });
});

const migrated = (directory: string, contextIds: readonly string[]) =>
  new KeysetGuard({
    name: '/run/kms.sock',
    uri: 'file:/keys',
    records: new HostRecords(directory),
    decryptOnly: () => Promise.resolve(contextIds),
  });

test('another keyset is used where a store that only decrypts has the one before', async () => {
  const directory = newDirectory();
  await guardIn(directory).remember(second);
  assert.is((await migrated(directory, []).judge(foreign, undefined)).use, 'nothing');
  assert.is((await migrated(directory, [foreign.contextId]).judge(foreign, undefined)).use, 'nothing');
  assert.equal(await migrated(directory, [second.contextId]).judge(foreign, undefined), { use: 'all' });
});

test('a keyset that comes back after another one opens, and seals only under a new key', async () => {
  const directory = newDirectory();
  await guardIn(directory).remember(replaced);
  const next = { ...foreign, primary: 'key-9' };
  await migrated(directory, [second.contextId]).remember(next);
  const back = migrated(directory, [next.contextId]);
  const verdict = await back.judge(replaced, undefined);
  assert.is(verdict.use, 'opening');
  assert.match(verdict.problem!.message, /primary key-1 was already replaced here. Its keys decrypt/);
  assert.match(verdict.problem!.remedy!, /^make a new key in it .*keys generate.* and promote that key/);
  assert.equal(await back.judge({ ...replaced, generation: 3, primary: 'key-2' }, undefined), { use: 'all' });
});

test('what somebody has confirmed is used, whatever is held', async () => {
  const directory = newDirectory();
  const guard = guardIn(directory);
  await guard.remember(second);
  await new HostRecords(directory).write('/run/kms.sock', foreign);
  assert.equal(await guard.judge(foreign, second), { use: 'all' });
});

test.run();
