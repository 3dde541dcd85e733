import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { Keyset } from '../../src/keyset/keyset.ts';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { patient } from '../support/context.ts';
import { newKeyBytes } from '../support/keys.ts';
import { startService } from '../support/keyset-service.ts';
import { manifestOf } from '../support/manifests.ts';

const HOUR = 3_600_000;
const gone = new KmsError('ERR_KMS_KEY_GONE', 'it is gone');

test('keys that their store does not confirm for too long are wiped, and come back with it', async () => {
  const { service, source, clock } = await startService();
  Object.assign(source, { maxUnconfirmedMs: HOUR });
  source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  await clock.advance(HOUR - 60_000);
  await service.encrypt(randomBytes(32), patient);
  await clock.advance(2 * 60_000);
  assert.is(service.keyset, undefined, 'nobody had to ask for it');
  assert.is(service.describe().primary, undefined);
  await rejectsWithCode(() => service.encrypt(randomBytes(32), patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await rejectsWithCode(() => service.status(), 'ERR_KMS_STORE_UNAVAILABLE');
  source.loading.failWith = undefined;
  await clock.advance(60_000);
  assert.is((await service.status()).healthz, 'ok');
  await service.close();
});

for (const [what, offer] of [
  ['damaged', 'keys: []\n'],
  ['missing', undefined],
] as const) {
  test(`a ${what} manifest confirms no key`, async () => {
    const { service, source, store, clock } = await startService();
    Object.assign(source, { maxUnconfirmedMs: HOUR });
    store.replaceManifest(offer);
    await clock.advance(2 * HOUR);
    await rejectsWithCode(() => service.encrypt(randomBytes(32), patient), 'ERR_KMS_STORE_UNAVAILABLE');
    await service.close();
  });

  test(`a ${what} manifest takes no key away that its store still has: ask it, until it does not deliver them`, async () => {
    const { service, source, store, clock } = await startService();
    const asked: (string | undefined)[] = [];
    let fails = false;
    const confirm = ({ primary }: StoredManifest): Promise<void> => {
      asked.push(primary);
      return fails ? Promise.reject(gone) : Promise.resolve();
    };
    const { primary } = service.describe();
    Object.assign(source, { maxUnconfirmedMs: HOUR, confirm });
    store.replaceManifest(offer);
    await clock.advance(3 * HOUR);
    await service.encrypt(randomBytes(32), patient);
    assert.ok(asked.length > 0 && asked.every((one) => one === primary));
    fails = true;
    await clock.advance(2 * HOUR);
    await rejectsWithCode(() => service.encrypt(randomBytes(32), patient), 'ERR_KMS_STORE_UNAVAILABLE');
    await service.close();
  });
}

test('without a limit keys go on without end', async () => {
  const { service, source, clock } = await startService();
  source.loading.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
  await clock.advance(1_000 * HOUR);
  await service.encrypt(randomBytes(32), patient);
  await service.close();
});

const without = (id: string) =>
  Keyset.load(patient, manifestOf('promoted', 'pending', 'promoted'), (keyId) =>
    keyId === id ? Promise.reject(gone) : Promise.resolve(new SecretBytes(newKeyBytes())),
  );

test('a keyset comes without a key that is gone for certain, and says so of that key alone', async () => {
  const keyset = await without('key-2');
  assert.equal([...keyset.problems.keys()], ['key-2']);
  assert.is(keyset.primary.keyId, 'key-0');
  assert.is(keyset.find('key-1').keyId, 'key-1');
  assert.is(await rejectsWithCode(() => keyset.find('key-2'), 'ERR_KMS_KEY_GONE'), gone);
  assert.is(keyset.sealingKey('key-0').keyId, 'key-0');
  keyset.destroy();
});

test('a keyset comes without its primary too, and seals nothing', async () => {
  const keyset = await without('key-0');
  assert.not.ok(keyset.seals);
  await rejectsWithCode(() => keyset.primary, 'ERR_KMS_KEY_GONE');
  assert.is(keyset.find('key-2').keyId, 'key-2');
  keyset.destroy();
});

test('an announced key that is gone since does not seal: the primary does', async () => {
  const keyset = await without('key-2');
  assert.is(keyset.sealingKey('key-2').keyId, 'key-0');
  keyset.destroy();
});

test.run();
