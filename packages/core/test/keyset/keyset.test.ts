import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../src/envelope/codec.ts';
import { KmsError } from '../../src/errors.ts';
import { KeyProof } from '../../src/keyset/key-proof.ts';
import { Keyset } from '../../src/keyset/keyset.ts';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { patient } from '../support/context.ts';
import { manifestOf } from '../support/manifests.ts';

const anyKey = () => Promise.resolve(new SecretBytes(randomBytes(32)));

test('every key but the retired ones is fetched', async () => {
  const fetched: string[] = [];
  await Keyset.load(patient, manifestOf('promoted', 'retired', 'pending'), (id) => (fetched.push(id), anyKey()));
  assert.equal(fetched, ['key-0', 'key-2']);
});

test('a key is found by its id, a retired and an unknown one are told apart', async () => {
  const keyset = await Keyset.load(patient, manifestOf('promoted', 'retired', 'pending'), anyKey);
  assert.is(keyset.find('key-0').keyId, 'key-0');
  assert.is(keyset.find('key-2').keyId, 'key-2');
  await rejectsWithCode(() => keyset.find('key-1'), 'ERR_KMS_KEY_RETIRED');
  await rejectsWithCode(() => keyset.find('key-9'), 'ERR_KMS_UNKNOWN_KEY');
});

test('the announced key seals where it is or was the primary', async () => {
  const keyset = await Keyset.load(patient, manifestOf('promoted', 'promoted', 'pending', 'retired'), anyKey);
  const sealing = [undefined, 'key-0', 'key-1', 'key-2', 'key-3', 'key-9'].map((id) => keyset.sealingKey(id).keyId);
  assert.equal(sealing, ['key-0', 'key-0', 'key-1', 'key-0', 'key-0', 'key-0']);
});

test('a key of the same bytes in another context does not open', async () => {
  const bytes = randomBytes(32);
  const load = (contextId: string) =>
    Keyset.load(patient, { ...manifestOf('promoted'), contextId }, () =>
      Promise.resolve(new SecretBytes(Buffer.from(bytes))),
    );
  const [a, b] = [await load('a'.repeat(32)), await load('b'.repeat(32))];
  const envelope = decodeEnvelope(a.primary.seal(Buffer.from('x')));
  await rejectsWithCode(() => b.primary.open(envelope), 'ERR_KMS_AUTHENTICATION_FAILED');
});

test('what the store throws is passed on', async () => {
  const away = new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'away');
  const load = () => Keyset.load(patient, manifestOf('promoted'), () => Promise.reject(away));
  assert.is(await rejectsWithCode(load, 'ERR_KMS_STORE_UNAVAILABLE'), away);
});

test('a blob of another size is wiped, and only its key is refused', async () => {
  const blob = Buffer.alloc(31, 7);
  const fetch = (id: string) => (id === 'key-1' ? Promise.resolve(new SecretBytes(blob)) : anyKey());
  const keyset = await Keyset.load(patient, manifestOf('promoted', 'pending'), fetch);
  await rejectsWithCode(() => keyset.find('key-1'), 'ERR_KMS_KEYSET_INVALID');
  assert.is(keyset.primary.keyId, 'key-0');
  assert.equal(blob, Buffer.alloc(31));
});

/** A manifest of version 2 for keys of these bytes. */
function checked(keys: Readonly<Record<string, Buffer>>): StoredManifest {
  const { contextId, keys: entries, ...rest } = manifestOf('promoted', 'pending');
  const check = (id: string) => new KeyProof(new SecretBytes(keys[id]!), Buffer.from(contextId, 'hex'), id).check;
  return { ...rest, formatVersion: 2, contextId, keys: entries.map((entry) => ({ ...entry, check: check(entry.id) })) };
}

const right = { 'key-0': randomBytes(32), 'key-1': randomBytes(32) };
const fetchFrom = (keys: Readonly<Record<string, Buffer>>) => (id: string) =>
  Promise.resolve(new SecretBytes(Buffer.from(keys[id]!)));

test('a key that does not match its check value is refused by name and wiped; the others are loaded', async () => {
  const wrong = randomBytes(32);
  const fetch = (id: string) => (id === 'key-1' ? Promise.resolve(new SecretBytes(wrong)) : fetchFrom(right)(id));
  const keyset = await Keyset.load(patient, checked(right), fetch);
  const error = await rejectsWithCode(() => keyset.find('key-1'), 'ERR_KMS_KEYSET_INVALID');
  assert.match(error.message, /key key-1: its bytes do not match the check value/);
  assert.equal(wrong, Buffer.alloc(32));
  assert.equal([...keyset.problems.keys()], ['key-1']);
  assert.equal([...keyset.proofs.keys()], ['key-0']);
});

test('a keyset whose primary is another key opens with the others and does not seal', async () => {
  const keyset = await Keyset.load(patient, checked(right), fetchFrom({ ...right, 'key-0': randomBytes(32) }));
  assert.is(keyset.seals, false);
  await rejectsWithCode(() => keyset.sealingKey(undefined), 'ERR_KMS_KEYSET_INVALID');
  await rejectsWithCode(() => keyset.sealingKey('key-0'), 'ERR_KMS_KEYSET_INVALID');
  assert.is(keyset.find('key-1').keyId, 'key-1');
});

test('a key that could not be loaded is kept from the keyset before, and outlives it', async () => {
  const before = await Keyset.load(patient, checked(right), fetchFrom(right));
  const envelope = decodeEnvelope(before.primary.seal(Buffer.from('x')));
  const after = await Keyset.load(patient, checked(right), fetchFrom({ ...right, 'key-0': randomBytes(32) }));
  after.keepFrom(before);
  before.destroy();
  assert.is(after.seals, true);
  assert.is(after.primary.open(envelope).toString(), 'x');
  assert.equal([...after.problems.keys()], ['key-0'], 'the store still has the wrong bytes');
  assert.equal([...after.proofs.keys()], ['key-1'], 'what the store has lost is lost here at the next restart');
});

test('a key with another check value is another key, and is not kept', async () => {
  const others = { 'key-0': randomBytes(32), 'key-1': randomBytes(32) };
  const before = await Keyset.load(patient, checked(others), fetchFrom(others));
  const after = await Keyset.load(patient, checked(right), fetchFrom(others));
  after.keepFrom(before);
  assert.is(after.seals, false);
});

test('a key that the next manifest does not list stays in memory and is named; it proves nothing', async () => {
  const before = await Keyset.load(patient, checked(right), fetchFrom(right));
  const envelope = decodeEnvelope(before.find('key-1').seal(Buffer.from('x')));
  const { keys, ...rest } = checked(right);
  const after = await Keyset.load(patient, { ...rest, generation: 7, keys: keys.slice(0, 1) }, fetchFrom(right));
  after.keepFrom(before);
  before.destroy();
  assert.is(after.find('key-1').open(envelope).toString(), 'x');
  assert.match(after.warnings.join(), /^key key-1 is only in memory: generation 7 .* before the plugin restarts$/);
  assert.equal([...after.proofs.keys()], ['key-0']);
  const last = await Keyset.load(patient, checked(right), fetchFrom({ ...right, 'key-1': randomBytes(32) }));
  last.keepFrom(after);
  assert.is(last.find('key-1').open(envelope).toString(), 'x', 'also when it is listed again, and damaged');
});

test('a key that the next manifest retires leaves the memory', async () => {
  const before = await Keyset.load(patient, checked(right), fetchFrom(right));
  const { keys, ...rest } = checked(right);
  const retired = keys.map((key) => (key.id === 'key-1' ? { ...key, state: 'retired' as const } : key));
  const after = await Keyset.load(patient, { ...rest, keys: retired }, fetchFrom(right));
  after.keepFrom(before);
  await rejectsWithCode(() => after.find('key-1'), 'ERR_KMS_KEY_RETIRED');
  assert.equal(after.warnings, []);
});

test('a key of version 1 that is damaged while its keyset is converted is kept: the check value knows it', async () => {
  const { contextId } = checked(right);
  const before = await Keyset.load(patient, { ...manifestOf('promoted', 'pending'), contextId }, fetchFrom(right));
  const after = await Keyset.load(patient, checked(right), fetchFrom({ ...right, 'key-0': randomBytes(32) }));
  after.keepFrom(before);
  assert.is(after.seals, true);
});

const version1 = manifestOf('promoted', 'pending');

for (const wrong of ['key-0', 'key-1']) {
  test(`version 1: other bytes in the place of ${wrong} leave the key in memory, and are named until it is restored`, async () => {
    let held = await Keyset.load(patient, version1, fetchFrom(right));
    const envelope = decodeEnvelope(held.find(wrong).seal(Buffer.from('x')));
    const load = async (keys: Readonly<Record<string, Buffer>>) => {
      const next = await Keyset.load(patient, version1, fetchFrom(keys));
      next.keepFrom(held);
      held.destroy();
      held = next;
    };
    for (let time = 0; time < 2; time++) {
      await load({ ...right, [wrong]: randomBytes(32) });
      assert.is(held.find(wrong).open(envelope).toString(), 'x');
      const problem = held.problems.get(wrong)!;
      assert.match(problem.message, new RegExp(`^key ${wrong}: its bytes are not those of the key in memory`));
      assert.match(problem.remedy!, /^move key key-\d aside, and restore the keys from another node/);
      assert.equal([...held.problems.keys()], [wrong]);
      assert.not.ok(held.proofs.has(wrong), 'it proves nothing');
    }
    await load(right);
    assert.is(held.problems.size, 0);
    assert.is(held.find(wrong).open(envelope).toString(), 'x');
  });
}

test('version 1: a key that was only in memory stays when its keyset comes back without it, or with other bytes', async () => {
  const first = await Keyset.load(patient, version1, fetchFrom(right));
  const envelope = decodeEnvelope(first.find('key-1').seal(Buffer.from('x')));
  const other = { ...checked(right), contextId: 'f'.repeat(32), keys: [{ ...version1.keys[0]!, id: 'key-9' }] };
  const between = await Keyset.load(patient, { ...other, primary: 'key-9' }, anyKey);
  between.keepFrom(first);
  const back = await Keyset.load(patient, version1, fetchFrom({ 'key-0': randomBytes(32), 'key-1': randomBytes(31) }));
  back.keepFrom(between);
  between.destroy();
  assert.equal([...back.problems.keys()].sort(), ['key-0', 'key-1']);
  assert.is(back.find('key-1').open(envelope).toString(), 'x');
  assert.is(back.seals, true);
});

test('version 1: a key of the same id in another keyset is another key, and is used', async () => {
  const before = await Keyset.load(patient, version1, fetchFrom(right));
  const after = await Keyset.load(patient, { ...version1, contextId: 'f'.repeat(32) }, fetchFrom(right));
  after.keepFrom(before);
  before.destroy();
  assert.is(after.problems.size, 0);
  after.primary.seal(Buffer.from('x'));
});

test('a manifest has the primary if it lists it as this key and in use', async () => {
  const keyset = await Keyset.load(patient, checked(right), fetchFrom(right));
  const { keys, ...rest } = checked(right);
  const change = (more: object) => ({ ...rest, keys: keys.map((key) => ({ ...key, ...more })) });
  assert.ok(keyset.primaryIsIn(change({ state: 'pending' })));
  assert.ok(keyset.primaryIsIn(version1), 'version 1 says no more');
  assert.not.ok(keyset.primaryIsIn(change({ check: '0'.repeat(32) })));
  assert.not.ok(keyset.primaryIsIn(change({ state: 'retired' })));
  assert.not.ok(keyset.primaryIsIn({ ...rest, keys: keys.slice(1) }));
  assert.not.ok(keyset.primaryIsIn({ ...version1, contextId: 'f'.repeat(32) }));
  keyset.destroy();
});

test('every blob is wiped once it is loaded', async () => {
  const blobs: Buffer[] = [];
  await Keyset.load(patient, manifestOf('promoted', 'pending'), () => {
    blobs.push(randomBytes(32));
    return Promise.resolve(new SecretBytes(blobs.at(-1)!));
  });
  assert.equal(blobs, [Buffer.alloc(32), Buffer.alloc(32)]);
});

test('a destroyed keyset seals and opens nothing', async () => {
  const keyset = await Keyset.load(patient, manifestOf('promoted', 'pending'), anyKey);
  const envelope = decodeEnvelope(keyset.primary.seal(Buffer.from('x')));
  keyset.destroy();
  keyset.destroy();
  await rejectsWithCode(() => keyset.primary.seal(Buffer.from('x')), 'ERR_KMS_CLOSED');
  await rejectsWithCode(() => keyset.find('key-0').open(envelope), 'ERR_KMS_CLOSED');
});

test.run();
