// Keysets of version 1 have no check values: only what is in memory tells that a key was exchanged.
import { settle } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keyset/administration.ts';
import { formatManifest } from '../../src/keyset/manifest.ts';
import { patient } from '../support/context.ts';
import { makeService } from '../support/keyset-service.ts';
import type { Started } from '../support/keyset-service.ts';

const seed = randomBytes(32);
const MINUTE = 60_000;

/** A service over a primary and a pending key, not started yet. */
async function makeVersion1() {
  const made = await makeService();
  const { keyId: pending } = await generateKey(made.store);
  const { manifest } = (await made.store.readManifest())!;
  const keys = manifest.keys.map(({ id, created, state, since }) => ({ id, created, state, since }));
  made.store.replaceManifest(formatManifest({ ...manifest, formatVersion: 1, keys }));
  return { ...made, pending };
}

/** Puts other bytes in the place of a key, and lets the service read them. @returns what was there */
async function exchange({ store }: Started, keyId: string, bytes: Buffer = randomBytes(32)): Promise<Buffer> {
  const before = store.readBlob(keyId)!;
  store.putBlob(keyId, bytes);
  for (const onChange of store.watchers) onChange();
  await settle();
  return before;
}

test('other bytes in the place of the primary: what was encrypted opens, and Status reports it after its grace', async () => {
  const made = await makeVersion1();
  const { service, primary, clock } = made;
  service.start();
  const sealed = await service.encrypt(seed, patient);
  const good = await exchange(made, primary);
  assert.equal(await service.decrypt(sealed, patient), seed);
  assert.match(service.describe().warnings.join(), new RegExp(`key ${primary}: .* not those of the key in memory`));
  await clock.advance(2 * MINUTE);
  assert.is((await service.status()).healthz, 'ok');
  await clock.advance(MINUTE);
  assert.match((await service.status()).healthz, /not those of the key in memory/);
  const later = await service.encrypt(seed, patient);
  await exchange(made, primary, good);
  assert.equal(service.describe().warnings, []);
  assert.is((await service.status()).healthz, 'ok');
  for (const one of [sealed, later]) assert.equal(await service.decrypt(one, patient), seed);
  await service.close();
});

test('the plugin began with wrong bytes, and nothing was decrypted with them: it takes the right ones at a restart', async () => {
  const made = await makeVersion1();
  const { service, store, pending } = made;
  const elsewhere = await store.load(patient);
  const ciphertext = elsewhere.find(pending).seal(seed);
  const good = await exchange(made, pending);
  service.start();
  await service.status();
  await exchange(made, pending, good);
  const [warning] = service.describe().warnings;
  assert.match(warning!, /Only if the key here is the right one, and "teapot-kms status" shows no decrypts for it/);
  assert.is(service.describe().keys.find(({ id }) => id === pending)!.decrypts, 0);
  await service.close();
  const later = await makeService();
  later.source.load = () => store.load(patient);
  later.service.start();
  assert.equal(await later.service.decrypt({ ciphertext }, patient), seed);
  assert.equal(later.service.describe().warnings, []);
  await later.service.close();
});

test.run();
