import { formatManifest, newKey, parseManifest } from '@teapot-kms/core/internal';
import type { KeyTraits } from '@teapot-kms/core/internal';
import {
  convertKeyset,
  decodeEnvelope,
  generateKey,
  HostRecords,
  KeysetGuard,
  KeysetService,
  KmsError,
  promoteKey,
} from '@teapot-kms/core';
import type { KeysetAdmin, KeysetSource, Manifest } from '@teapot-kms/core';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { rejectsWithCode } from '../assert/rejects-with-code.ts';
import { rememberSecret } from '../assert/remember-secret.ts';
import { skipped } from '../assert/skipped.ts';
import { until } from '../assert/until.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { newDirectory } from '../util/new-directory.ts';
import type { Behaviour, KeysetSourceFixture } from './keyset-source-fixture.ts';
import { strangeCiphertext } from './service-rules.ts';

/*
 * Keys are never traded for worse ones (`docs/spec/keyset-v2.md` §6): a service over the real store, while somebody puts another keyset, an
 * older one or other bytes in its place.
 */

const SOCKET = '/run/site.sock';
const GRACE_MS = 120_000;
const context = { signal: new AbortController().signal };
const plaintext = Buffer.from('kept');

/** One service over the store, on a fake clock, with what its host remembers. */
class Site {
  readonly service: KeysetService;
  readonly #clock = new FakeClock();
  #ciphertext: Buffer = Buffer.alloc(0);

  constructor(source: KeysetSource, state: string) {
    const guard = new KeysetGuard({ name: SOCKET, uri: source.uri, records: new HostRecords(state) });
    const borrowed: KeysetSource = {
      uri: source.uri,
      load: (given) => source.load(given),
      watch: () => () => undefined,
    };
    this.service = new KeysetService({
      source: borrowed,
      guard,
      clock: this.#clock,
      // The clock moves only while nothing is read.
      probeIntervalMs: 10 * GRACE_MS,
    });
    this.service.start();
  }

  /** Encrypts with the keys that are good, to see later whether they are still there. */
  async seal(): Promise<void> {
    await this.service.status();
    ({ ciphertext: this.#ciphertext } = await this.service.encrypt(plaintext, context));
  }

  /** Makes the service read the store, and returns when it has drawn its conclusions: an unknown key is one reason to read. */
  async probe(): Promise<void> {
    await this.refuses(strangeCiphertext());
  }

  /** Decrypts under a key that the service does not have. Such calls make it read the store once per second. */
  async refuses(ciphertext: Buffer): Promise<KmsError> {
    await this.#clock.advance(1_000);
    try {
      await this.service.decrypt({ ciphertext }, context);
    } catch (error) {
      if (error instanceof KmsError) return error;
      throw error;
    }
    return assert.fail('it was decrypted');
  }

  async advance(ms: number): Promise<void> {
    await this.#clock.advance(ms);
    await this.probe();
  }

  /** What was encrypted before opens, and Status announces this key. */
  async assertWhole(keyId: string): Promise<void> {
    assert.deepEqual(await this.service.decrypt({ ciphertext: this.#ciphertext }, context), plaintext);
    const { ciphertext, keyId: sealedBy } = await this.service.encrypt(plaintext, context);
    assert.equal(sealedBy, keyId);
    assert.deepEqual(await this.service.decrypt({ ciphertext }, context), plaintext);
    assert.equal((await this.service.status()).keyId, keyId);
  }

  /** The key goes on from memory. Status is ok for its grace time, and says why not afterwards (design D3). */
  async assertOnlyInMemory(keyId: string, reason: RegExp): Promise<void> {
    await this.assertWhole(keyId);
    assert.equal((await this.service.status()).healthz, 'ok');
    await this.advance(GRACE_MS + 1);
    await this.assertWhole(keyId);
    assert.match((await this.service.status()).healthz, reason);
  }

  /** The ids of the keys that a report of this replica proves. */
  provenKeys(): string[] {
    const subject = { replica: '0'.repeat(16), host: 'site', time: '2026-01-02T03:04:05Z', nonce: '0'.repeat(32) };
    return this.service.report(subject).keys.map(({ id }) => id);
  }

  assertWarning(pattern: RegExp): void {
    const { warnings } = this.service.describe();
    assert.ok(
      warnings.some((warning) => pattern.test(warning)),
      warnings.join('\n'),
    );
  }
}

export function registerLastingKeys(behaviour: Behaviour): void {
  const site = (what: string, run: (site: Site, fixture: Reach, admin: KeysetAdmin, more: More) => Promise<void>) =>
    behaviour(what, async (fixture, admin) => {
      const { replaceManifest, putBlob, removeBlob, readBlob } = fixture;
      if (!replaceManifest || !putBlob || !removeBlob) {
        skipped('replaceManifest, putBlob, removeBlob');
        return;
      }
      const { keyId } = await generateKey(admin);
      const state = join(newDirectory(), 'state');
      const first = new Site(fixture.source, state);
      const restart = async (): Promise<Site> => {
        const { keyset } = first.service.describe();
        const remembered = async () => (await new HostRecords(state).read(SOCKET))?.hash === keyset?.hash;
        await until('the host remembers the keyset', remembered, { everyMs: 5, timeoutMs: 30_000 });
        await first.service.close();
        return new Site(fixture.reopen(), state);
      };
      try {
        await first.seal();
        const reach = { replaceManifest, putBlob, removeBlob, ...(readBlob && { readBlob }) };
        await run(first, reach, admin, {
          keyId,
          state,
          restart,
          removedIs: fixture.removedIs,
        });
      } finally {
        await first.service.close();
      }
    });

  site(
    'another keyset in its place leaves the keys in memory',
    async (site, { replaceManifest }, _admin, { keyId }) => {
      await replaceManifest(formatManifest(foreignManifest()));
      await site.probe();
      site.assertWarning(/ERR_KMS_KEYSET_STALE: .* has another keyset, f{32}.*keys in memory stay/);
      await site.assertOnlyInMemory(keyId, /has another keyset, f{32}/);
    },
  );

  site(
    'a damaged manifest leaves the keys in memory, and Status reports it after its grace',
    async (site, fixture, admin, { keyId }) => {
      const good = await textOf(admin);
      await fixture.replaceManifest('keys: []\n');
      await site.probe();
      await site.assertOnlyInMemory(keyId, /expected/);
      await fixture.replaceManifest(good);
      await site.probe();
      assert.equal((await site.service.status()).healthz, 'ok');
    },
  );

  site(
    'another keyset that somebody confirms seals, and what was encrypted before still opens',
    async (site, { replaceManifest, putBlob }, admin, { keyId, state }) => {
      const { key, traits } = newKey('foreign', Buffer.from('f'.repeat(32), 'hex'));
      rememberSecret(key.expose());
      await replaceManifest(formatManifest(foreignManifest(traits)));
      await putBlob('foreign', key.expose());
      await new HostRecords(state).write(SOCKET, await manifestOf(admin));
      await site.probe();
      await site.assertWhole('foreign');
      site.assertWarning(new RegExp(`key ${keyId} is only in memory`));
    },
  );

  site('an older manifest in its place changes nothing', async (site, { replaceManifest }, admin, { keyId }) => {
    const older = await textOf(admin);
    const { keyId: next } = await generateKey(admin);
    await promoteKey(admin, next);
    await site.probe();
    await replaceManifest(older);
    await site.probe();
    assert.notEqual(next, keyId);
    site.assertWarning(/ERR_KMS_KEYSET_STALE: .*generation 1 .*older: .* generation 3/);
    await site.assertOnlyInMemory(next, /older: .* generation 3/);
  });

  site(
    'an older manifest that lists the primary leaves Status ok: its store has the key',
    async (site, fixture, admin, { keyId }) => {
      const older = await textOf(admin);
      await generateKey(admin);
      await site.probe();
      await fixture.replaceManifest(older);
      await site.advance(GRACE_MS + 1);
      await site.assertWhole(keyId);
      assert.equal((await site.service.status()).healthz, 'ok');
      site.assertWarning(/ERR_KMS_KEYSET_STALE: .*generation 1 .*older: .* generation 2/);
    },
  );

  site(
    'a change on another copy is a conflict, and the keys in memory stay',
    async (site, fixture, admin, { keyId }) => {
      const manifest = await manifestOf(admin);
      await generateKey(admin);
      await site.probe();
      await fixture.replaceManifest(formatManifest({ ...manifest, generation: 2, replaces: manifest.hash }));
      await site.probe();
      await site.advance(GRACE_MS + 1);
      await site.assertWhole(keyId);
      assert.equal((await site.service.status()).healthz, 'ok', 'both copies have the primary');
      site.assertWarning(/ERR_KMS_KEYSET_STALE: .*two copies were changed/);
    },
  );

  site(
    'other bytes in the place of the primary leave the key in memory, and Status reports it after its grace',
    async (site, fixture, _admin, { keyId }) => {
      const other = randomBytes(32);
      rememberSecret(other);
      await fixture.putBlob(keyId, other);
      await site.probe();
      site.assertWarning(new RegExp(`ERR_KMS_KEYSET_INVALID: key ${keyId}: its bytes do not match`));
      await site.assertOnlyInMemory(keyId, /do not match the check value/);
    },
  );

  site(
    'in version 1, other bytes in the place of a key leave the one in memory too, until it is restored',
    async (site, fixture, admin, { keyId, state }) => {
      if (!fixture.readBlob) {
        skipped('readBlob');
        return;
      }
      await toVersion1(admin);
      await new HostRecords(state).write(SOCKET, await manifestOf(admin));
      await site.probe();
      const good = await fixture.readBlob(keyId);
      const other = randomBytes(32);
      for (const secret of [good, other]) rememberSecret(secret);
      await fixture.putBlob(keyId, other);
      await site.probe();
      site.assertWarning(new RegExp(`ERR_KMS_KEYSET_INVALID: key ${keyId}: its bytes are not those .* in memory`));
      await site.assertOnlyInMemory(keyId, /not those of the key in memory/);
      await fixture.putBlob(keyId, good);
      await site.probe();
      await site.assertWhole(keyId);
      assert.equal((await site.service.status()).healthz, 'ok');
    },
  );

  site('a key that the store no longer has proves nothing in a report', async (site, fixture, admin, { keyId }) => {
    const { keyId: pending } = await generateKey(admin);
    await site.probe();
    assert.deepEqual(site.provenKeys().sort(), [keyId, pending].sort());
    await fixture.putBlob(pending, randomBytes(32));
    await site.probe();
    assert.deepEqual(site.provenKeys(), [keyId]);
  });

  site('a pending key that is damaged is named, and nothing else changes', async (site, fixture, admin, { keyId }) => {
    const { keyId: pending } = await generateKey(admin);
    await site.probe();
    await fixture.putBlob(pending, randomBytes(32));
    await site.advance(GRACE_MS + 1);
    await site.assertWhole(keyId);
    assert.equal((await site.service.status()).healthz, 'ok');
    site.assertWarning(new RegExp(pending));
  });

  site('a blob that is gone leaves the key in memory', async (site, fixture, _admin, { keyId, removedIs }) => {
    if (removedIs === 'ERR_KMS_KEY_GONE') return; // A certain loss has rules of its own (design D3).
    await fixture.removeBlob(keyId);
    await site.probe();
    await site.assertOnlyInMemory(keyId, new RegExp(keyId));
  });

  site(
    'after a restart, an older manifest decrypts and does not encrypt, until it is confirmed',
    async (_site, fixture, admin, more) => {
      const older = await textOf(admin);
      const { keyId: next } = await generateKey(admin);
      await promoteKey(admin, next);
      await _site.probe();
      const sealed = await _site.service.encrypt(plaintext, context);
      await fixture.replaceManifest(older);
      const later = await more.restart();
      await rejectsWithCode(() => later.service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
      const refused = await rejectsWithCode(
        () => later.service.encrypt(plaintext, context),
        'ERR_KMS_STORE_UNAVAILABLE',
      );
      assert.match(refused.message, /older: .* generation 3/);
      assert.match(refused.remedy ?? '', /keys confirm/);
      later.assertWarning(/ERR_KMS_KEYSET_STALE/);
      assert.equal(later.service.describe().primary, undefined, 'no key seals');
      await later.probe();
      await rejectsWithCode(() => later.service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
      assert.equal((await later.refuses(sealed.ciphertext)).code, 'ERR_KMS_STORE_UNAVAILABLE');
      await new HostRecords(more.state).write(SOCKET, await manifestOf(admin));
      await later.probe();
      assert.equal((await later.service.status()).keyId, more.keyId);
      await later.service.close();
    },
  );

  behaviour('a keyset of version 1 is converted, and what it sealed opens', async (fixture, admin) => {
    await generateKey(admin);
    const made = await toVersion1(admin);
    const before = await fixture.source.load(context);
    const sealed = before.primary.seal(plaintext);
    await convertKeyset(admin, before.proofs);
    before.destroy();
    const after = await fixture.reopen().load(context);
    assert.deepEqual(after.primary.open(decodeEnvelope(sealed)), plaintext);
    assert.ok(after.isVerified(made.primary));
    after.destroy();
  });

  site(
    'after a restart, another keyset is not used at all',
    async (_site, { replaceManifest }, _admin, { restart }) => {
      await replaceManifest(formatManifest(foreignManifest()));
      const later = await restart();
      const error = await rejectsWithCode(() => later.service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
      assert.match(error.message, /has another keyset/);
      await later.service.close();
    },
  );
}

interface More {
  readonly keyId: string;
  /** The directory of what the host remembers. */
  readonly state: string;
  /** Ends the service, and starts another one on the same host. */
  readonly restart: () => Promise<Site>;
  readonly removedIs: KeysetSourceFixture['removedIs'];
}

type Changes = Pick<KeysetSourceFixture, 'replaceManifest' | 'putBlob' | 'removeBlob'>;
type Reach = Required<Changes> & Pick<KeysetSourceFixture, 'readBlob'>;

/** Writes the keyset as version 1. @returns what it was before */
async function toVersion1(admin: KeysetAdmin): Promise<Manifest> {
  const { manifest, revision } = (await admin.readManifest())!;
  const keys = manifest.keys.map(({ id, created, state, since, secret }) => ({ id, created, state, since, secret }));
  await admin.writeManifest({ ...manifest, formatVersion: 1, keys }, revision);
  return manifest;
}

async function manifestOf(admin: KeysetAdmin) {
  const stored = await admin.readManifest();
  assert.ok(stored);
  return stored.manifest;
}

const textOf = async (admin: KeysetAdmin): Promise<string> => {
  const manifest = await manifestOf(admin);
  const text = formatManifest(manifest);
  assert.equal(parseManifest(text, 'the text').hash, manifest.hash);
  return text;
};

function foreignManifest(traits: KeyTraits = { check: '00'.repeat(16) }): Manifest {
  const time = '2026-01-02T03:04:05.000Z';
  const keys = [{ id: 'foreign', created: time, state: 'promoted', since: time, ...traits } as const];
  return { formatVersion: 2, contextId: 'f'.repeat(32), generation: 1, primary: 'foreign', keys };
}
