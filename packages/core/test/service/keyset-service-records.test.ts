// A service whose host cannot always read and write its records.
import { rejectsWithCode, settle } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey, promoteKey } from '../../src/keyset/administration.ts';
import { HostRecords } from '../../src/keyset/host-records.ts';
import { KeysetGuard } from '../../src/service/keyset-guard.ts';
import { patient } from '../support/context.ts';
import { makeService } from '../support/keyset-service.ts';
import type { FsFaults } from '../support/memory-fs.ts';
import { memoryFs } from '../support/memory-fs.ts';

const seed = randomBytes(32);
const MINUTE = 60_000;
const SOCKET = '/run/kms.sock';

/** A service that is not started yet, over a store of generation 3, with the text of generation 1. */
async function makeRecorded() {
  const faults: FsFaults = {};
  const records = new HostRecords('/var/lib/teapot-kms', memoryFs(faults));
  const guard = new KeysetGuard({ name: SOCKET, uri: 'fake:keyset', records });
  const made = await makeService({ guard });
  const { store } = made;
  const older = store.manifestText!;
  await promoteKey(store, (await generateKey(store)).keyId);
  const { manifest } = (await store.readManifest())!;
  return { ...made, faults, records, older, manifest };
}

test('a rollback after a record could not be written changes nothing in a running plugin', async () => {
  const { service, store, faults, older, manifest } = await makeRecorded();
  const newest = store.manifestText!;
  store.replaceManifest(older);
  service.start();
  await service.status();
  faults.writes = 'ENOSPC';
  store.replaceManifest(newest);
  await settle();
  store.replaceManifest(older);
  await settle();
  assert.is((await service.encrypt(seed, patient)).keyId, manifest.primary);
  assert.match(service.describe().warnings.join(), /older: the keys in memory are of generation 3/);
  assert.match(service.describe().hints.join(), /cannot be written/);
  await service.close();
});

test('what could not be recorded is recorded as soon as it can, also while the store is away', async () => {
  const { service, source, clock, faults, records, manifest } = await makeRecorded();
  faults.writes = 'EROFS';
  service.start();
  await service.status();
  source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  await clock.advance(MINUTE);
  assert.is(await records.read(SOCKET), undefined);
  delete faults.writes;
  await clock.advance(MINUTE);
  assert.is((await records.read(SOCKET))!.hash, manifest.hash);
  assert.equal(service.describe().hints, []);
  await service.close();
});

for (const away of [false, true]) {
  test(`an older keyset that was taken without the record stops to seal when it can be read${away ? ', also while the store is away' : ''}`, async () => {
    const { service, source, store, clock, faults, records, older, manifest } = await makeRecorded();
    await records.write(SOCKET, manifest);
    const newest = store.manifestText!;
    store.replaceManifest(older);
    faults.reads = 'EMFILE';
    service.start();
    const sealed = await service.encrypt(seed, patient);
    assert.match(service.describe().hints.join(), /cannot be read/);
    delete faults.reads;
    if (away) source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
    await clock.advance(MINUTE);
    const error = await rejectsWithCode(() => service.encrypt(seed, patient), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, /older: this host has used generation 3/);
    await rejectsWithCode(() => service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.is(service.describe().primary, undefined);
    assert.equal(await service.decrypt(sealed, patient), seed, 'what it has sealed opens');
    source.loading.failWith = undefined;
    store.replaceManifest(newest);
    await clock.advance(MINUTE);
    assert.is((await service.encrypt(seed, patient)).keyId, manifest.primary);
    assert.equal(await service.decrypt(sealed, patient), seed);
    await service.close();
  });
}

test('keys that only open do not begin to seal when the record can no longer be read', async () => {
  const { service, store, clock, faults, records, older, manifest } = await makeRecorded();
  await records.write(SOCKET, manifest);
  store.replaceManifest(older);
  service.start();
  await rejectsWithCode(() => service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
  faults.reads = 'EMFILE';
  await clock.advance(MINUTE);
  await rejectsWithCode(() => service.encrypt(seed, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  delete faults.reads;
  await clock.advance(MINUTE);
  assert.is((await records.read(SOCKET))!.generation, 3);
  await service.close();
});

test.run();
