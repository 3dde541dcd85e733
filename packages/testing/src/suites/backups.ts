import { exportKeyset, generateKey, importKeyset, promoteKey, retireKey, wipeKeys } from '@teapot-kms/core';
import { decodeEnvelope } from '@teapot-kms/core';
import type { KeysetAdmin, KeysetSource } from '@teapot-kms/core';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rejectsWithCode } from '../assert/rejects-with-code.ts';
import { skipped } from '../assert/skipped.ts';
import type { Behaviour, KeysetSourceFixture } from './keyset-source-fixture.ts';

const context = () => ({ signal: AbortSignal.timeout(30_000) });
const plaintext = Buffer.from('kept');

async function seal(source: KeysetSource): Promise<Buffer> {
  const keyset = await source.load(context());
  const sealed = keyset.primary.seal(plaintext);
  keyset.destroy();
  return sealed;
}

async function opens(source: KeysetSource, sealed: readonly Buffer[]): Promise<void> {
  const keyset = await source.load(context());
  for (const one of sealed) {
    const envelope = decodeEnvelope(one);
    assert.deepEqual(keyset.find(envelope.keyId).open(envelope), plaintext);
  }
  keyset.destroy();
}

/** Two keys that have sealed, and a retired one. */
async function usedKeyset(source: KeysetSource, admin: KeysetAdmin): Promise<{ ids: string[]; sealed: Buffer[] }> {
  const first = await generateKey(admin);
  const sealed = [await seal(source)];
  const second = await generateKey(admin);
  await promoteKey(admin, second.keyId);
  sealed.push(await seal(source));
  const third = await generateKey(admin);
  await retireKey(admin, third.keyId);
  return { ids: [first.keyId, second.keyId, third.keyId], sealed };
}

/** What a backup brings back, over every store whose keys can leave it. */
export function registerBackups(behaviour: Behaviour, makeFixture: () => Promise<KeysetSourceFixture>): void {
  behaviour('a backup contains every key, and makes the keyset anew at an empty place', async ({ source }, admin) => {
    const { ids, sealed } = await usedKeyset(source, admin);
    const { backup, manifest, missing } = await exportKeyset(admin);
    assert.deepEqual([[...backup.keys.keys()], missing], [ids, []]);
    const empty = await makeFixture();
    try {
      const { before, after } = await importKeyset(empty.source.admin!, backup);
      assert.equal(before, undefined);
      assert.equal(after.contextId, manifest.contextId);
      await opens(empty.source, sealed);
    } finally {
      wipeKeys(backup);
      await empty.close?.();
    }
  });

  behaviour(
    'a backup brings back keys that are lost or damaged, and what they sealed opens',
    async (fixture, admin) => {
      const { source, removeBlob, putBlob, removedIs = 'ERR_KMS_KEYSET_INVALID' } = fixture;
      if (!removeBlob || !putBlob) {
        skipped('removeBlob, putBlob');
        return;
      }
      const { ids, sealed } = await usedKeyset(source, admin);
      const { backup } = await exportKeyset(admin);
      await removeBlob(ids[0]!);
      await putBlob(ids[1]!, randomBytes(32));
      await rejectsWithCode(() => exportKeyset(admin), removedIs);
      const { restored } = await importKeyset(admin, backup);
      assert.deepEqual(restored, ids.slice(0, 2));
      wipeKeys(backup);
      await opens(fixture.reopen(), sealed);
      wipeKeys((await exportKeyset(admin)).backup);
    },
  );

  behaviour('a backup touches nothing that is whole, and no newer manifest', async ({ source }, admin) => {
    const { ids } = await usedKeyset(source, admin);
    const { backup } = await exportKeyset(admin);
    await generateKey(admin);
    const now = await admin.readManifest();
    const { restored, after } = await importKeyset(admin, backup);
    wipeKeys(backup);
    assert.deepEqual(restored, []);
    assert.equal(after.keys.length, ids.length + 1);
    assert.deepEqual(await admin.readManifest(), now);
  });

  behaviour(
    'a newer backup takes no key away that its manifest does not list, and names it',
    async ({ source }, admin) => {
      await generateKey(admin);
      const { backup: common } = await exportKeyset(admin);
      const elsewhere = await makeFixture();
      try {
        const other = elsewhere.source.admin!;
        await importKeyset(other, common);
        for (let change = 0; change < 6; change++) await generateKey(other);
        const { keyId: promoted } = await generateKey(admin);
        await promoteKey(admin, promoted);
        const sealed = await seal(source);
        const { keyId: retired } = await generateKey(admin);
        await retireKey(admin, retired);
        const { manifest } = (await admin.readManifest())!;
        const { backup: newer } = await exportKeyset(other);
        const { unlisted } = await importKeyset(admin, newer);
        assert.deepEqual(unlisted, [promoted, retired]);
        for (const id of unlisted) {
          const entry = manifest.keys.find((one) => one.id === id)!;
          (await admin.readKey!(id, entry)).wipe();
        }
        assert.equal(decodeEnvelope(sealed).keyId, promoted);
        wipeKeys(newer);
      } finally {
        wipeKeys(common);
        await elsewhere.close?.();
      }
    },
  );

  behaviour('a backup of another keyset changes nothing', async ({ source }, admin) => {
    await usedKeyset(source, admin);
    const { backup } = await exportKeyset(admin);
    const other = await makeFixture();
    try {
      await generateKey(other.source.admin!);
      const before = await other.source.admin!.readManifest();
      await rejectsWithCode(() => importKeyset(other.source.admin!, backup), 'ERR_KMS_KEYSET_RULE');
      assert.deepEqual(await other.source.admin!.readManifest(), before);
    } finally {
      wipeKeys(backup);
      await other.close?.();
    }
  });
}
