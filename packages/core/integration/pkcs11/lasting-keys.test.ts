// Keys are never traded for worse ones (docs/spec/keyset-v2.md §6), where they stay in a token: an older manifest, another
// keyset, or another key under a known id.
import { SoftHsm } from '@teapot-kms/testing/daemons';
import { rejectsWithCode, until } from '@teapot-kms/testing';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { convertKeyset, generateKey, promoteKey, retireKey, successor } from '../../src/keyset/administration.ts';
import type { Pkcs11Kek } from '../../src/stores/pkcs11/pkcs11-kek.ts';
import { LastingSite, newLabel, plaintext, provenBy, warned } from './support/lasting-site.ts';
import { newDirectory, newKek, openKek, patient, use } from './support/tokens.ts';

const HOUR = 3_600_000;

const missing = SoftHsm.missing();
if (missing !== undefined) console.log(`SKIPPED keys of a token are never lost: ${missing}`);
else {
  const token = await SoftHsm.create(newDirectory());
  use(token);
  test('an older manifest is not taken: the promoted key goes on, and what it wrapped opens', async () => {
    const site = new LastingSite(token);
    const kek = await newKek(site.options);
    const older = readFileSync(site.manifest);
    const { keyId } = await generateKey(kek.admin);
    await promoteKey(kek.admin, keyId);
    await kek.close();
    const service = site.start();
    assert.is((await service.status()).keyId, keyId);
    const sealed = await service.encrypt(plaintext, patient());
    writeFileSync(site.manifest, older);
    await warned(service, /ERR_KMS_KEYSET_STALE: .*older: .* generation 3/);
    assert.is((await service.encrypt(plaintext, patient())).keyId, keyId);
    assert.equal(await service.decrypt(sealed, patient()), plaintext);
    await service.close();
    const later = site.start();
    await rejectsWithCode(() => later.status(), 'ERR_KMS_STORE_UNAVAILABLE');
    await rejectsWithCode(() => later.encrypt(plaintext, patient()), 'ERR_KMS_STORE_UNAVAILABLE');
    await later.close();
  });

  test('a token with keys of this label gets no new keyset where the manifest is gone, and the keys are named', async () => {
    const site = new LastingSite(token);
    const kek = await newKek(site.options);
    const [entry] = (await kek.admin.readManifest())!.manifest.keys;
    rmSync(site.manifest);
    const error = await rejectsWithCode(() => generateKey(kek.admin), 'ERR_KMS_KEYSET_RULE');
    assert.match(error.message, `${entry!.id} in the token`);
    assert.match(error.remedy ?? '', 'restore the manifest');
    await kek.close();
    // Keys of another label are none of its keys.
    const other = openKek({ ...site.options, label: newLabel() });
    await generateKey(other.admin);
    await other.close();
  });

  test('another key under the id of the primary is recognised by its check key, and wraps nothing', async () => {
    const site = new LastingSite(token);
    const kek = await newKek(site.options);
    const keyId = (await kek.describe(patient())).primary;
    const service = site.start();
    assert.is((await service.status()).keyId, keyId);
    const sealed = await service.encrypt(plaintext, patient());
    await kek.destroy(keyId);
    await kek.generate(keyId);
    await kek.close();
    // The local KEK is due for a renewal: before that, the token is tested again.
    await site.clock.advance(2 * HOUR);
    site.touch();
    await warned(service, /ERR_KMS_KEYSET_INVALID: the token has another key under the id/);
    assert.equal(await service.decrypt(sealed, patient()), plaintext, 'the local KEK is in memory');
    const { ciphertext } = await service.encrypt(plaintext, patient());
    assert.equal(await service.decrypt({ ciphertext }, patient()), plaintext);
    await service.close();
    const later = site.start();
    await rejectsWithCode(() => later.status(), 'ERR_KMS_STORE_UNAVAILABLE');
    await warned(later, /the token has another key under the id/);
    await rejectsWithCode(() => later.encrypt(plaintext, patient()), 'ERR_KMS_STORE_UNAVAILABLE');
    await later.close();
  });

  test('a keyset of version 1 is converted: each key gets a check key that the token has wrapped', async () => {
    const site = new LastingSite(token);
    const kek = await newKek(site.options);
    const { keyId } = await generateKey(kek.admin);
    const { manifest: made, revision } = (await kek.admin.readManifest())!;
    const keys = made.keys.map(({ id, created, state, since }) => ({ id, created, state, since }));
    await kek.admin.writeManifest({ ...made, formatVersion: 1, keys }, revision);
    const before = site.start();
    await before.status();
    const sealed = await before.encrypt(plaintext, patient());
    await before.close();
    const { after } = await convertKeyset(kek.admin, new Map());
    await kek.close();
    assert.equal([after.formatVersion, after.generation, after.keys.length], [2, 1, 2]);
    const service = site.start();
    assert.equal(await service.decrypt(sealed, patient()), plaintext);
    const shown = service.describe();
    assert.equal(shown.warnings, []);
    assert.equal(shown.keys.find(({ id }) => id === keyId)?.verified, true);
    await service.close();
  });

  test('a held key that a newer manifest does not list opens until the plugin ends, and the plugin names it', async () => {
    const site = new LastingSite(token);
    const { kek, first, second, sealed } = await site.promoted();
    const service = site.start();
    assert.is((await service.status()).keyId, second);
    const { manifest, revision } = (await kek.admin.readManifest())!;
    await kek.admin.writeManifest(
      successor(manifest, (before) => ({ ...before, keys: before.keys.filter(({ id }) => id !== first) })),
      revision,
    );
    await warned(
      service,
      new RegExp(`key ${first} is still used although generation 4 of the keyset does not list it`),
    );
    assert.equal(await service.decrypt(sealed, patient()), plaintext);
    assert.is((await service.encrypt(plaintext, patient())).keyId, second);
    assert.equal(provenBy(service), [second], 'a report proves only what the manifest lists');
    await service.close();
    const later = site.start();
    await later.status();
    await rejectsWithCode(() => later.decrypt(sealed, patient()), 'ERR_KMS_UNKNOWN_KEY');
    await later.close();
    await kek.close();
  });

  test('a key that a newer manifest lists as retired is taken out of use', async () => {
    const site = new LastingSite(token);
    const { kek, first, sealed } = await site.promoted();
    const service = site.start();
    await service.status();
    await retireKey(kek.admin, first);
    await until('it is taken', () => service.describe().keyset?.generation === 4, { everyMs: 5 });
    await rejectsWithCode(() => service.decrypt(sealed, patient()), 'ERR_KMS_UNKNOWN_KEY');
    assert.equal(service.describe().warnings, []);
    await service.close();
    await kek.close();
  });

  /** Replaces the keyset by a new one, as an operator does whose token does not show the older keys. */
  async function anotherKeyset(site: LastingSite, { admin }: Pkcs11Kek): Promise<string> {
    rmSync(site.manifest);
    admin.orphans = () => Promise.resolve([]);
    const { keyId } = await generateKey(admin);
    Reflect.deleteProperty(admin, 'orphans');
    return keyId;
  }

  test('another keyset is not taken until somebody confirms it, and then the data of the former still opens', async () => {
    const site = new LastingSite(token);
    const kek = await newKek(site.options);
    const sealed = await site.sealed();
    const service = site.start();
    const { keyId: former } = await service.status();
    const keyId = await anotherKeyset(site, kek);
    await warned(service, /ERR_KMS_KEYSET_STALE: .*has another keyset/);
    assert.is((await service.encrypt(plaintext, patient())).keyId, former);
    await site.confirm(kek);
    await until('it is taken', async () => (await service.status()).keyId === keyId, { everyMs: 5 });
    await warned(service, new RegExp(`key ${former} is still used although generation 1 `));
    assert.equal(await service.decrypt(sealed, patient()), plaintext);
    const fresh = await service.encrypt(plaintext, patient());
    assert.is(fresh.keyId, keyId);
    assert.equal(await service.decrypt(fresh, patient()), plaintext);
    await service.close();
    await kek.close();
  });

  test('with nothing held another keyset opens nothing, until somebody confirms it', async () => {
    const site = new LastingSite(token);
    const kek = await newKek(site.options);
    await site.sealed();
    const keyId = await anotherKeyset(site, kek);
    const service = site.start();
    await rejectsWithCode(() => service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
    await warned(service, /has another keyset/);
    await site.confirm(kek);
    await until('it is taken', () => service.holds(keyId), { everyMs: 5 });
    assert.is((await service.encrypt(plaintext, patient())).keyId, keyId);
    await service.close();
    await kek.close();
  });

  test('two manifests of one generation are a conflict: the held one goes on', async () => {
    const site = new LastingSite(token);
    const kek = await newKek(site.options);
    const first = readFileSync(site.manifest);
    await generateKey(kek.admin);
    const service = site.start();
    const { keyId } = await service.status();
    const directory = newDirectory();
    const elsewhere = openKek({ ...site.options, directory });
    const copy = join(directory, 'keyset/keyset.yaml');
    mkdirSync(join(directory, 'keyset'), { mode: 0o700 });
    writeFileSync(copy, first);
    await generateKey(elsewhere.admin);
    cpSync(copy, site.manifest);
    await warned(service, /ERR_KMS_KEYSET_STALE: .*generation 2 .*two copies were changed at the same time/);
    assert.is((await service.encrypt(plaintext, patient())).keyId, keyId);
    await service.close();
    await Promise.all([kek.close(), elsewhere.close()]);
  });

  test('an older keyset that somebody confirms seals again', async () => {
    const site = new LastingSite(token);
    const kek = await newKek(site.options);
    const older = readFileSync(site.manifest);
    const first = (await kek.describe(patient())).primary;
    const { keyId } = await generateKey(kek.admin);
    await promoteKey(kek.admin, keyId);
    const sealed = await site.sealed();
    assert.is(sealed.keyId, keyId);
    writeFileSync(site.manifest, older);
    const service = site.start();
    await warned(service, /older: .* generation 3/);
    await rejectsWithCode(() => service.encrypt(plaintext, patient()), 'ERR_KMS_STORE_UNAVAILABLE');
    await site.confirm(kek);
    await until('it seals', () => service.describe().warnings.length === 0, { everyMs: 5 });
    assert.is((await service.encrypt(plaintext, patient())).keyId, first);
    await service.close();
    await kek.close();
  });

  test.run();
}
