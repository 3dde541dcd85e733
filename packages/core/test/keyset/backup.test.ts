import { FakeKeysetStore, rejectsWithCode, version1Manifest } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../src/envelope/codec.ts';
import { generateKey, promoteKey, retireKey } from '../../src/keyset/administration.ts';
import { exportKeyset, importKeyset } from '../../src/keyset/backup.ts';
import type { KeysetAdmin, KeysetBackup } from '../../src/keyset/keyset-source.ts';
import { formatManifest } from '../../src/keyset/manifest.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { patient } from '../support/context.ts';

/** A store of two keys, the second the primary, and its backup. */
async function exported(): Promise<{ store: FakeKeysetStore; ids: [string, string]; backup: KeysetBackup }> {
  const store = new FakeKeysetStore();
  const { keyId: first } = await generateKey(store);
  const { keyId: second } = await generateKey(store);
  await promoteKey(store, second);
  const { backup } = await exportKeyset(store);
  return { store, ids: [first, second], backup };
}

/** What the store's primary seals opens where the backup is imported. */
async function opensElsewhere(store: FakeKeysetStore, backup: KeysetBackup): Promise<void> {
  const plaintext = Buffer.from('a seed');
  const sealed = decodeEnvelope((await store.load(patient)).primary.seal(plaintext));
  const place = new FakeKeysetStore();
  await importKeyset(place, backup);
  assert.equal((await place.load(patient)).primary.open(sealed), plaintext);
}

const bytesOf = async (store: FakeKeysetStore, id: string): Promise<Buffer> => (await store.readKey(id)).expose();

test('the manifest comes back byte for byte, so that hosts know it again', async () => {
  const { store, ids, backup } = await exported();
  const empty = new FakeKeysetStore();
  const { restored } = await importKeyset(empty, backup);
  assert.equal(restored, ids);
  assert.is(empty.manifestText, store.manifestText);
  for (const id of ids) assert.equal(await bytesOf(empty, id), await bytesOf(store, id));
});

test('a manifest with comments of somebody comes back as the successor of itself', async () => {
  const { store } = await exported();
  store.replaceManifest(`${store.manifestText!}# seen by me\n`);
  const { backup, manifest } = await exportKeyset(store);
  const empty = new FakeKeysetStore();
  const { after } = await importKeyset(empty, backup);
  assert.is(after.generation, manifest.generation + 1);
  assert.is(after.replaces, manifest.hash);
});

test('a store that gives keys other places gets the successor of the manifest', async () => {
  const { backup, ids } = await exported();
  const empty = new FakeKeysetStore();
  const secret = '0a1b2c3d-0000-4000-8000-000000000000';
  const admin: KeysetAdmin = {
    readManifest: () => empty.readManifest(),
    createKey: async (...given) => ({ ...(await empty.createKey(...given)), secret }),
    readKey: (id) => empty.readKey(id),
    writeManifest: (...given) => empty.writeManifest(...given),
    destroyKey: (id) => empty.destroyKey(id),
  };
  const { after } = await importKeyset(admin, backup);
  assert.equal(
    after.keys.map((key) => key.secret),
    ids.map(() => secret),
  );
  assert.is(after.generation, 4);
});

test('a dry run says what would come back, and changes nothing', async () => {
  const { store, ids, backup } = await exported();
  store.putBlob(ids[0], undefined);
  const before = await store.readManifest();
  assert.equal((await importKeyset(store, backup, { dryRun: true })).restored, [ids[0]]);
  assert.equal(await store.readManifest(), before);
  await rejectsWithCode(() => store.readKey(ids[0]), 'ERR_KMS_KEYSET_INVALID');
});

test('an older manifest in the store gives way to the one of the backup', async () => {
  const { store, backup } = await exported();
  const older = new FakeKeysetStore();
  const { manifest } = (await store.readManifest())!;
  const [first, second] = manifest.keys;
  const keys = [first!, { ...second!, state: 'pending' as const }];
  older.replaceManifest(formatManifest({ ...manifest, generation: 2, primary: first!.id, keys, replaces: undefined }));
  // The generation between is skipped, so that nothing contradicts.
  const newer = formatManifest({ ...manifest, generation: 5 });
  await importKeyset(older, { ...backup, manifest: newer });
  assert.is(older.manifestText, newer);
});

test('two changes on two copies are a conflict, and nothing is written: the backup goes to a place of its own', async () => {
  const { store, backup } = await exported();
  const other = new FakeKeysetStore();
  const { manifest } = (await store.readManifest())!;
  other.replaceManifest(formatManifest({ ...manifest, replaces: '11'.repeat(32) }));
  const before = await other.readManifest();
  const { remedy } = await rejectsWithCode(() => importKeyset(other, backup), 'ERR_KMS_KEYSET_CONFLICT');
  assert.equal(await other.readManifest(), before);
  assert.match(remedy ?? '', /^import the backup at a place of its own, and compare the two/);
  await opensElsewhere(store, backup);
});

test('a backup of another keyset is not imported over this one: it goes to a place of its own', async () => {
  const { store, backup } = await exported();
  const here = await exported();
  const { remedy } = await rejectsWithCode(() => importKeyset(here.store, backup), 'ERR_KMS_KEYSET_RULE');
  assert.is(remedy, 'import it at a place of its own');
  await opensElsewhere(store, backup);
  await opensElsewhere(here.store, here.backup);
});

test('bytes that do not match the check value are refused in a backup', async () => {
  const { backup, ids } = await exported();
  const keys = new Map(backup.keys).set(ids[0], new SecretBytes(randomBytes(32)));
  await rejectsWithCode(() => importKeyset(new FakeKeysetStore(), { ...backup, keys }), 'ERR_KMS_KEYSET_INVALID');
});

test('a key that no manifest lists is refused in a backup', async () => {
  const { backup } = await exported();
  const keys = new Map(backup.keys).set('stray', new SecretBytes(randomBytes(32)));
  await rejectsWithCode(() => importKeyset(new FakeKeysetStore(), { ...backup, keys }), 'ERR_KMS_KEYSET_INVALID');
});

test('a backup that lacks a key makes no new keyset', async () => {
  const { backup, ids } = await exported();
  const empty = new FakeKeysetStore();
  const keys = new Map([...backup.keys].filter(([id]) => id !== ids[1]));
  await rejectsWithCode(() => importKeyset(empty, { ...backup, keys }), 'ERR_KMS_KEYSET_INVALID');
  assert.is(empty.manifestText, undefined);
});

test('a newer backup that lacks a key replaces no manifest', async () => {
  const { store, backup, ids } = await exported();
  const older = new FakeKeysetStore();
  const { manifest } = (await store.readManifest())!;
  const keys = manifest.keys.filter(({ id }) => id === ids[0]);
  older.replaceManifest(formatManifest({ ...manifest, generation: 1, primary: ids[0], keys, replaces: undefined }));
  const before = await older.readManifest();
  const partial = new Map([...backup.keys].filter(([id]) => id === ids[0]));
  await rejectsWithCode(() => importKeyset(older, { ...backup, keys: partial }), 'ERR_KMS_KEYSET_INVALID');
  assert.equal(await older.readManifest(), before);
});

/** What is left of a keyset, as a copy of it has it. */
const copied = async (store: FakeKeysetStore) => (await exportKeyset(store, { partial: true })).backup;

test('a copy with a damaged key brings back the others, touches none that is whole, and the rest comes from another copy', async () => {
  const { store, ids, backup } = await exported();
  const whole = await bytesOf(store, ids[1]);
  const other = new FakeKeysetStore();
  await importKeyset(other, backup);
  other.putBlob(ids[1], randomBytes(32));
  store.putBlob(ids[0], randomBytes(32));
  assert.equal((await importKeyset(store, await copied(other), { partial: true })).restored, [ids[0]]);
  assert.equal(await bytesOf(store, ids[1]), whole);
  await opensElsewhere(store, (await exportKeyset(store)).backup);
  const empty = new FakeKeysetStore();
  await importKeyset(empty, await copied(other), { partial: true });
  assert.equal((await importKeyset(empty, await copied(store), { partial: true })).restored, [ids[1]]);
  assert.is(empty.manifestText, store.manifestText);
});

test('a newer copy that lacks a new key replaces no manifest that is whole without it', async () => {
  const { store, backup } = await exported();
  const newer = new FakeKeysetStore();
  await importKeyset(newer, backup);
  const { keyId } = await generateKey(newer);
  newer.putBlob(keyId, undefined);
  const before = await store.readManifest();
  const lacking = await copied(newer);
  await rejectsWithCode(() => importKeyset(store, lacking, { partial: true }), 'ERR_KMS_KEYSET_INVALID');
  assert.equal(await store.readManifest(), before);
});

test('a copy of a manifest alone is enough for a store that keeps its keys elsewhere', async () => {
  const { store } = await exported();
  const { text } = (await store.readManifest())!;
  const token = new FakeKeysetStore();
  const admin: KeysetAdmin = {
    readManifest: () => token.readManifest(),
    createKey: (...given) => token.createKey(...given),
    writeManifest: (...given) => token.writeManifest(...given),
    destroyKey: (id) => token.destroyKey(id),
  };
  const older = { manifest: text, keys: new Map() };
  await importKeyset(admin, older, { partial: true });
  assert.is(token.manifestText, text);
  await generateKey(store);
  const newer = (await store.readManifest())!.text;
  await importKeyset(admin, { manifest: newer, keys: new Map() }, { partial: true });
  assert.is(token.manifestText, newer);
});

test('a key in use that is damaged makes no backup', async () => {
  const { store, ids } = await exported();
  store.putBlob(ids[0], randomBytes(32));
  await rejectsWithCode(() => exportKeyset(store), 'ERR_KMS_KEYSET_INVALID');
});

test('a retired key that is gone is named, and the backup is made', async () => {
  const { store, ids } = await exported();
  await retireKey(store, ids[0]);
  store.putBlob(ids[0], undefined);
  const { backup, missing } = await exportKeyset(store);
  assert.equal(missing, [ids[0]]);
  assert.equal([...backup.keys.keys()], [ids[1]]);
});

test('a store whose keys never leave it exports nothing: the next key is copied before it is used', async () => {
  const store = new FakeKeysetStore();
  await generateKey(store);
  const admin: KeysetAdmin = {
    readManifest: () => store.readManifest(),
    createKey: (...given) => store.createKey(...given),
    writeManifest: (...given) => store.writeManifest(...given),
    destroyKey: (id) => store.destroyKey(id),
  };
  const error = await rejectsWithCode(() => exportKeyset(admin), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.remedy ?? '', /--escrow-to/);
  let copied = 0;
  const escrow = ({ keys }: KeysetBackup): Promise<void> => Promise.resolve(void (copied = keys.size));
  await generateKey(admin, { escrow });
  assert.is(copied, 1);
});

test('where no check value tells two keys with one id apart, neither is touched, and a place of its own shows which opens', async () => {
  const manifest = version1Manifest('only');
  const place = (key: Buffer): FakeKeysetStore => {
    const store = new FakeKeysetStore();
    store.replaceManifest(formatManifest(manifest));
    store.putBlob(manifest.primary, key);
    return store;
  };
  const [here, there] = [randomBytes(32), randomBytes(32)];
  const { backup } = await exportKeyset(place(there));
  const store = place(Buffer.from(here));
  const { disputed, restored } = await importKeyset(store, backup);
  assert.equal([restored, disputed.map(({ code }) => code)], [[], ['ERR_KMS_KEYSET_CONFLICT']]);
  assert.match(disputed[0]!.remedy!, /^import the backup at a place of its own, and find out which of the two/);
  await opensElsewhere(place(Buffer.from(there)), backup);
  assert.equal(await bytesOf(store, manifest.primary), here);
});

test('a key in dispute does not keep another from coming back', async () => {
  const keys = [...version1Manifest('only').keys, ...version1Manifest('other').keys];
  const manifest = { ...version1Manifest('only'), keys };
  const place = (): FakeKeysetStore => {
    const store = new FakeKeysetStore();
    store.replaceManifest(formatManifest(manifest));
    for (const { id } of keys) store.putBlob(id, randomBytes(32));
    return store;
  };
  const [here, there] = [place(), place()];
  const [mine, lost] = keys.map(({ id }) => id);
  const kept = await bytesOf(here, mine!);
  here.putBlob(lost!, undefined);
  const { backup } = await exportKeyset(there);
  const { restored, disputed } = await importKeyset(here, backup);
  assert.equal([restored, disputed.length], [[lost], 1]);
  assert.equal([await bytesOf(here, mine!), await bytesOf(here, lost!)], [kept, await bytesOf(there, lost!)]);
});

test('a key for escrow is copied before a manifest lists it', async () => {
  const store = new FakeKeysetStore();
  let copy: Buffer | undefined;
  const { keyId, after } = await generateKey(store, {
    escrow: ({ manifest, keys }) => {
      assert.is(store.manifestText, undefined);
      copy = Buffer.from([...keys.values()][0]!.expose());
      assert.match(manifest, /imported: true/);
      return Promise.resolve();
    },
  });
  assert.equal(copy, await bytesOf(store, keyId));
  assert.is(after.keys[0]!.imported, true);
});

test('a copy that cannot be written leaves no key', async () => {
  const store = new FakeKeysetStore();
  let id = '';
  const failing = generateKey(store, {
    escrow: ({ keys }) => {
      id = [...keys.keys()][0]!;
      return Promise.reject(new Error('no space'));
    },
  });
  let message = '';
  await failing.catch((error: unknown) => (message = (error as Error).message));
  assert.is(message, 'no space');
  assert.is(store.manifestText, undefined);
  assert.is(store.readBlob(id), undefined);
});

test.run();
