import { formatManifest } from '@teapot-kms/core/internal';
import { decodeEnvelope, generateKey } from '@teapot-kms/core';
import type { KeysetSource } from '@teapot-kms/core';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rejectsWithCode } from '../assert/rejects-with-code.ts';
import { rememberSecret } from '../assert/remember-secret.ts';
import { assertNoSecret } from '../assert/secret-search.ts';
import { skipped } from '../assert/skipped.ts';
import type { Behaviour } from './keyset-source-fixture.ts';

const context = () => ({ signal: AbortSignal.timeout(30_000) });

/** @throws the reason why the primary could not be loaded */
const primaryOf = async (source: KeysetSource) => (await source.load(context())).primary;

/** What a load makes of a manifest or blob that is damaged. */
export function registerDamage(behaviour: Behaviour): void {
  behaviour('a damaged manifest is named with its line', async ({ source, replaceManifest }, admin) => {
    if (!replaceManifest) {
      skipped('replaceManifest');
      return;
    }
    const { after } = await generateKey(admin);
    const text = formatManifest(after);
    await replaceManifest(text.replace('formatVersion: 2', 'formatVersion: 3'));
    const error = await rejectsWithCode(() => source.load(context()), 'ERR_KMS_KEYSET_INVALID');
    assert.match(error.message, /:\d+: formatVersion: expected 1 or 2, found 3/);
    await rejectsWithCode(() => admin.readManifest(), 'ERR_KMS_KEYSET_INVALID');
    await replaceManifest(text);
    (await source.load(context())).destroy();
  });

  behaviour('a manifest that is cut off anywhere never loads as another keyset', async (fixture, admin) => {
    if (!fixture.replaceManifest) {
      skipped('replaceManifest');
      return;
    }
    const { after } = await generateKey(admin);
    const text = formatManifest(after);
    for (const length of [0, 1, Math.floor(text.length / 2), text.length - 5]) {
      await fixture.replaceManifest(text.slice(0, length));
      await rejectsWithCode(() => fixture.source.load(context()), 'ERR_KMS_KEYSET_INVALID');
    }
  });

  for (const size of [0, 31, 33, 44, 64]) {
    behaviour(`a blob of ${size} bytes is refused and not shown`, async ({ source, putBlob }, admin) => {
      if (!putBlob) {
        skipped('putBlob');
        return;
      }
      const { keyId } = await generateKey(admin);
      const bytes = Buffer.alloc(size, randomBytes(32).toString('base64'));
      await putBlob(keyId, bytes);
      const error = await rejectsWithCode(() => primaryOf(source), 'ERR_KMS_KEYSET_INVALID');
      if (size > 0) assertNoSecret(error, bytes, 'the error');
      assert.match(error.message, new RegExp(`32.*${size}`));
    });
  }

  behaviour('a blob that the manifest names and that is missing is an error that names it', async (fixture, admin) => {
    const { source, removeBlob, removedIs = 'ERR_KMS_KEYSET_INVALID' } = fixture;
    if (!removeBlob) {
      skipped('removeBlob');
      return;
    }
    const { keyId } = await generateKey(admin);
    await removeBlob(keyId);
    const error = await rejectsWithCode(() => primaryOf(source), removedIs);
    assert.ok(error.message.includes(keyId));
  });

  behaviour('another key under a known id does not open what was sealed', async ({ source, putBlob }, admin) => {
    if (!putBlob) {
      skipped('putBlob');
      return;
    }
    const { keyId } = await generateKey(admin);
    const sealed = decodeEnvelope((await source.load(context())).primary.seal(Buffer.from('x')));
    const other = randomBytes(32);
    rememberSecret(other);
    await putBlob(keyId, other);
    await rejectsWithCode(async () => (await primaryOf(source)).open(sealed), 'ERR_KMS_KEYSET_INVALID');
  });

  behaviour('no key is seen in whatever is printed', async ({ source, readBlob, replaceManifest }, admin) => {
    if (!readBlob) {
      skipped('readBlob');
      return;
    }
    const { keyId } = await generateKey(admin);
    const key = await readBlob(keyId);
    rememberSecret(key);
    const keyset = await source.load(context());
    for (const shown of [keyset, keyset.primary, source, admin, await admin.readManifest()]) assertNoSecret(shown, key);
    assertNoSecret(keyset.primary.seal(Buffer.from('x')), key, 'an envelope');
    keyset.destroy();
    await replaceManifest?.('keys: []\n');
    if (replaceManifest)
      assertNoSecret(await rejectsWithCode(() => source.load(context()), 'ERR_KMS_KEYSET_INVALID'), key);
  });
}
