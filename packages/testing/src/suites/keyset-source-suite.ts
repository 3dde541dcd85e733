import { withPendingKey } from '@teapot-kms/core/internal';
import {
  decodeEnvelope,
  destroyRetiredKey,
  generateKey,
  KeysetService,
  promoteKey,
  restoreKey,
  retireKey,
} from '@teapot-kms/core';
import type { Keyset, KeysetAdmin, KeysetSource } from '@teapot-kms/core';
import { skipped } from '../assert/skipped.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rejectsWithCode } from '../assert/rejects-with-code.ts';
import { registerBackups } from './backups.ts';
import { registerDamage } from './damaged-keysets.ts';
import type { Behaviour, KeysetSourceFixture } from './keyset-source-fixture.ts';
import { registerLastingKeys } from './lasting-keys.ts';
import { PROBE_INTERVAL_MS, readsOncePerSecond, StoreTap, strangeCiphertext, watchesAnew } from './service-rules.ts';
import type { TestFunction } from './test-function.ts';

/** Longest wait for a hint of `watch`, in ms. */
const HINT_WITHIN_MS = 60_000;

const context = () => ({ signal: AbortSignal.timeout(30_000) });

/**
 * What is expected of every {@link KeysetSource} that keys can be managed through. Registers its tests with `test`;
 * each makes a fixture of its own.
 */
export function keysetSourceSuite(
  test: TestFunction,
  name: string,
  makeFixture: () => Promise<KeysetSourceFixture>,
): void {
  const behaviour = (what: string, run: (fixture: KeysetSourceFixture, admin: KeysetAdmin) => Promise<void>) =>
    test(`${name}: ${what}`, async () => {
      const fixture = await makeFixture();
      try {
        assert.ok(fixture.source.admin, 'the source lets keys be managed');
        await run(fixture, fixture.source.admin);
      } finally {
        await fixture.close?.();
      }
    });

  registerLifeOfKeys(behaviour);
  registerReplicas(behaviour);
  registerDamage(behaviour);
  registerServiceRules(behaviour);
  registerLastingKeys(behaviour);
  registerBackups(behaviour, makeFixture);
}

function registerLifeOfKeys(behaviour: Behaviour): void {
  behaviour('a keyset that does not exist is unavailable, and has no manifest', async ({ source }, admin) => {
    await rejectsWithCode(() => source.load(context()), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.equal(await admin.readManifest(), undefined);
  });

  behaviour('the first key generated is the primary and seals', async ({ source }, admin) => {
    const { keyId } = await generateKey(admin);
    const keyset = await source.load(context());
    assert.equal(keyset.primary.keyId, keyId);
    roundTrip(keyset, keyset);
    keyset.destroy();
  });

  behaviour('a second key is pending: it opens and does not seal', async ({ source }, admin) => {
    const first = await generateKey(admin);
    const second = await generateKey(admin);
    const keyset = await source.load(context());
    assert.equal(keyset.primary.keyId, first.keyId);
    assert.equal(keyset.find(second.keyId).keyId, second.keyId);
    assert.equal(keyset.sealingKey(second.keyId).keyId, first.keyId);
    keyset.destroy();
  });

  behaviour('a promoted key seals, and the former primary still opens', async ({ source }, admin) => {
    const first = await generateKey(admin);
    const before = await source.load(context());
    const old = before.primary.seal(Buffer.from('old'));
    const { keyId } = await generateKey(admin);
    await promoteKey(admin, keyId);
    const after = await source.load(context());
    assert.equal(after.primary.keyId, keyId);
    assert.equal(after.find(first.keyId).open(decodeEnvelope(old)).toString(), 'old');
    before.destroy();
    after.destroy();
  });

  behaviour('a retired key opens no more, and again when it is restored', async ({ source }, admin) => {
    const first = await generateKey(admin);
    const old = (await source.load(context())).primary.seal(Buffer.from('old'));
    const { keyId } = await generateKey(admin);
    await promoteKey(admin, keyId);
    await retireKey(admin, first.keyId);
    const retired = await source.load(context());
    await rejectsWithCode(() => retired.find(first.keyId), 'ERR_KMS_KEY_RETIRED');
    await restoreKey(admin, first.keyId);
    const restored = await source.load(context());
    assert.equal(restored.find(first.keyId).open(decodeEnvelope(old)).toString(), 'old');
    assert.equal(restored.primary.keyId, keyId);
    retired.destroy();
    restored.destroy();
  });

  behaviour('a destroyed key is gone, its blob too', async ({ source, readBlob }, admin) => {
    const first = await generateKey(admin);
    const { keyId } = await generateKey(admin);
    await promoteKey(admin, keyId);
    await retireKey(admin, first.keyId);
    await destroyRetiredKey(admin, first.keyId, { graceMs: 0 });
    const keyset = await source.load(context());
    await rejectsWithCode(() => keyset.find(first.keyId), 'ERR_KMS_UNKNOWN_KEY');
    if (readBlob) await assert.rejects(readBlob(first.keyId));
    keyset.destroy();
  });

  behaviour('destroying a blob that is gone already succeeds', async (_fixture, admin) => {
    await generateKey(admin);
    await admin.destroyKey('never-there', { secret: '00000000-0000-4000-8000-000000000000' });
  });

  behaviour('a dry run changes nothing', async ({ source }, admin) => {
    await generateKey(admin);
    const before = await admin.readManifest();
    const { after, keyId } = await generateKey(admin, { dryRun: true });
    assert.equal(after.keys.at(-1)?.id, keyId);
    assert.deepEqual(await admin.readManifest(), before);
    (await source.load(context())).destroy();
  });

  behaviour('a key is 32 random bytes, no two alike', async ({ readBlob }, admin) => {
    if (!readBlob) {
      skipped('readBlob');
      return;
    }
    const [first, second] = [await generateKey(admin), await generateKey(admin)];
    const blobs = [await readBlob(first.keyId), await readBlob(second.keyId)];
    assert.deepEqual(
      blobs.map((blob) => blob.length),
      [32, 32],
    );
    assert.ok(!blobs[0]!.equals(blobs[1]!));
  });
}

function registerReplicas(behaviour: Behaviour): void {
  behaviour('what one replica seals another opens', async ({ source, reopen }, admin) => {
    await generateKey(admin);
    const [ours, theirs] = [await source.load(context()), await reopen().load(context())];
    roundTrip(ours, theirs);
    roundTrip(theirs, ours);
    ours.destroy();
    theirs.destroy();
  });

  behaviour('a change on one replica is seen by another', async ({ reopen }, admin) => {
    await generateKey(admin);
    const { keyId } = await generateKey(admin);
    const other = reopen();
    (await other.load(context())).destroy();
    await promoteKey(admin, keyId);
    const keyset = await other.load(context());
    assert.equal(keyset.primary.keyId, keyId);
    keyset.destroy();
  });

  behaviour('a change on top of a stale manifest is a conflict, and nothing is lost', async ({ reopen }, admin) => {
    await generateKey(admin);
    const stale = await admin.readManifest();
    assert.ok(stale);
    const { keyId } = await generateKey(reopen().admin!);
    const mine = withPendingKey(stale.manifest, new Date(), 'mine', {});
    await rejectsWithCode(() => admin.writeManifest(mine, stale.revision), 'ERR_KMS_KEYSET_CONFLICT');
    const now = await admin.readManifest();
    assert.ok(now?.manifest.keys.some((key) => key.id === keyId));
  });

  behaviour('a second first manifest is a conflict', async ({ reopen }, admin) => {
    const { after } = await generateKey(admin);
    await rejectsWithCode(() => reopen().admin!.writeManifest(after, undefined), 'ERR_KMS_KEYSET_CONFLICT');
  });

  behaviour('watch hints at a change, where the store tells of changes', async (fixture, admin) => {
    const { source, reopen } = fixture;
    if (fixture.withoutHints) return;
    await generateKey(admin);
    const { promise, resolve } = Promise.withResolvers<undefined>();
    // A timer that keeps the process alive, which a watch does not.
    const over = new AbortController();
    const stop = source.watch(() => resolve(undefined));
    try {
      const { keyId } = await generateKey(reopen().admin!);
      await Promise.race([
        promise,
        sleep(HINT_WITHIN_MS, undefined, { signal: over.signal }).then(() => assert.fail('no hint')),
      ]);
      over.abort();
      const keyset = await source.load(context());
      assert.equal(keyset.find(keyId).keyId, keyId);
      keyset.destroy();
    } finally {
      stop();
    }
  });

  behaviour('a watch can be ended twice, and begun where there is no keyset', ({ source }) => {
    const stop = source.watch(() => undefined);
    stop();
    stop();
    return Promise.resolve();
  });
}

function registerServiceRules(behaviour: Behaviour): void {
  behaviour('requests for unknown keys read the store at most once per second', async ({ source }, admin) => {
    await generateKey(admin);
    const tap = new StoreTap();
    const unwatched = { ...tapped(source, tap), watch: () => () => undefined };
    const service = new KeysetService({ source: unwatched, clock: tap.clock, probeIntervalMs: PROBE_INTERVAL_MS });
    await readsOncePerSecond(service, tap, strangeCiphertext);
    await service.close();
  });

  behaviour('after an outage the service watches the store anew', async (fixture, admin) => {
    await generateKey(admin);
    const tap = new StoreTap();
    const source = tapped(fixture.source, tap);
    const service = new KeysetService({ source, clock: tap.clock, probeIntervalMs: PROBE_INTERVAL_MS });
    const change = async () => (await generateKey(fixture.reopen().admin!)).keyId;
    await watchesAnew(service, tap, strangeCiphertext, fixture.withoutHints ? undefined : change);
    await service.close();
  });
}

/** The fixture closes the source itself. */
function tapped(source: KeysetSource, tap: StoreTap): KeysetSource {
  return {
    uri: source.uri,
    load: (context) => tap.probe(() => source.load(context)),
    watch: (onChange) => tap.watch(onChange, (hint) => source.watch(hint)),
  };
}

function roundTrip(sealer: Keyset, opener: Keyset): void {
  const plaintext = randomBytes(32);
  const envelope = decodeEnvelope(sealer.primary.seal(plaintext));
  assert.deepEqual(opener.find(envelope.keyId).open(envelope), plaintext);
}
