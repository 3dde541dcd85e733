// Keys are never traded for worse ones (docs/spec/keyset-v2.md §6), where they stay in a token: an older manifest, another
// keyset, or another key under a known id.
import { SoftHsm } from '@teapot-kms/testing/daemons';
import { FakeClock, rejectsWithCode, until } from '@teapot-kms/testing';
import { readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { convertKeyset, generateKey, promoteKey } from '../../src/keyset/administration.ts';
import { HostRecords } from '../../src/keyset/host-records.ts';
import { KeysetGuard } from '../../src/service/keyset-guard.ts';
import { LocalKekService } from '../../src/service/local-kek/local-kek-service.ts';
import { newDirectory, newKek, openKek, patient, use } from './support/tokens.ts';
import type { KekOptions } from './support/tokens.ts';

const HOUR = 3_600_000;
const plaintext = Buffer.from('kept');

const missing = SoftHsm.missing();
if (missing !== undefined) console.log(`SKIPPED keys of a token are never lost: ${missing}`);
else {
  const token = await SoftHsm.create(newDirectory());
  use(token);
  let labels = 0;

  /** A service over one key in the token, and what its host remembers. */
  class Site {
    readonly options: KekOptions = {
      token,
      directory: newDirectory(),
      label: `lasting-${++labels}`,
      settings: { sessions: 1 },
    };
    readonly clock = new FakeClock();
    readonly manifest = join(this.options.directory, 'keyset/keyset.yaml');

    start(): LocalKekService {
      const remote = openKek(this.options);
      const records = new HostRecords(join(this.options.directory, 'host'));
      const guard = new KeysetGuard({ name: '/run/site.sock', uri: remote.uri, records });
      // The clock moves only while nothing is read: changes of the directory make the service read.
      const service = new LocalKekService({ remote, guard, clock: this.clock, probeIntervalMs: 100 * HOUR });
      service.start();
      return service;
    }
  }

  const warned = (service: LocalKekService, pattern: RegExp): Promise<unknown> =>
    until(`a warning ${pattern.source}`, () => service.describe().warnings.some((text) => pattern.test(text)), {
      everyMs: 5,
    });

  test('an older manifest is not taken: the promoted key goes on, and what it wrapped opens', async () => {
    const site = new Site();
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
    const site = new Site();
    const kek = await newKek(site.options);
    const [entry] = (await kek.admin.readManifest())!.manifest.keys;
    rmSync(site.manifest);
    const error = await rejectsWithCode(() => generateKey(kek.admin), 'ERR_KMS_KEYSET_RULE');
    assert.match(error.message, `${site.options.label!} ${entry!.id} in the token`);
    assert.match(error.remedy ?? '', 'restore the manifest');
    await kek.close();
    // Keys of another label are none of its keys.
    const other = openKek({ ...site.options, label: `lasting-${++labels}` });
    await generateKey(other.admin);
    await other.close();
  });

  test('another key under the id of the primary is recognised by its check key, and wraps nothing', async () => {
    const site = new Site();
    const kek = await newKek(site.options);
    const keyId = (await kek.describe(patient())).primary;
    const service = site.start();
    assert.is((await service.status()).keyId, keyId);
    const sealed = await service.encrypt(plaintext, patient());
    await kek.destroy(keyId);
    await kek.generate(keyId, Buffer.alloc(16));
    await kek.close();
    // The local KEK is due for a renewal: before that, the token is tested again.
    await site.clock.advance(2 * HOUR);
    utimesSync(site.manifest, new Date(), new Date());
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
    const site = new Site();
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

  test.run();
}
