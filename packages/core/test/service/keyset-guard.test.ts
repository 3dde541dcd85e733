import { newDirectory } from '@teapot-kms/testing';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostRecords } from '../../src/keyset/host-records.ts';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import { KeysetGuard } from '../../src/service/keyset-guard.ts';
import { manifestOf } from '../support/manifests.ts';

const hash = (digit: string): string => digit.repeat(64);
const manifest = (generation: number, own: string, replaces?: string): StoredManifest => ({
  ...manifestOf('promoted'),
  formatVersion: 2,
  generation,
  hash: hash(own),
  ...(replaces !== undefined && { replaces: hash(replaces) }),
});
const [first, second] = [manifest(1, 'a'), manifest(2, 'b', 'a')];
const foreign = { ...manifest(1, 'c'), contextId: 'f'.repeat(32) };
const fork = manifest(2, 'd', 'a');

const guardIn = (directory: string) =>
  new KeysetGuard({ name: '/run/kms.sock', uri: 'file:/keys', records: new HostRecords(directory) });

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
const replaced: StoredManifest = { ...second, primary: 'key-1', keys: manifestOf('promoted', 'promoted').keys };

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

test('a record that cannot be written is a hint with a remedy, and stops nothing', async () => {
  const directory = newDirectory();
  const file = join(directory, 'file');
  writeFileSync(file, '');
  const guard = guardIn(join(file, 'state'));
  await guard.remember(first);
  const [hint] = guard.hints;
  assert.match(hint!.message, /file\/state cannot be written .*rolled back is not recognised/);
  assert.match(hint!.remedy!, `move aside the file that is in the place of a directory: ${file}`);
  assert.equal(await guard.judge(second, first), { use: 'all' });
});

test('a damaged record is a hint, does not stop a start, and stays until somebody confirms the keyset', async () => {
  const directory = newDirectory();
  await guardIn(directory).remember(second);
  writeFileSync(join(directory, readdirSync(directory)[0]!), 'damaged');
  const guard = guardIn(directory);
  assert.equal(await guard.judge(first, undefined), { use: 'all' });
  assert.match(guard.hints[0]!.message, /cannot be read/);
  await guard.remember(first);
  assert.match(guard.hints[0]!.message, /cannot be read/);
  await new HostRecords(directory).write('/run/kms.sock', first);
  await guard.remember(first);
  assert.equal(guard.hints, []);
});

test.run();
