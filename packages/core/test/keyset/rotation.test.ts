import { rejectsWithCode } from '@teapot-kms/testing';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { formatManifest, parseManifest } from '../../src/keyset/manifest.ts';
import type { Manifest } from '../../src/keyset/manifest.ts';
import {
  newContextId,
  newManifest,
  withoutKey,
  withPendingKey,
  withPromoted,
  withRestored,
  withRetired,
} from '../../src/keyset/rotation.ts';
import { contentOf } from '../support/manifests.ts';

const start = new Date('2026-01-01T00:00:00.000Z');
const later = (ms: number) => new Date(start.getTime() + ms);
const stateOf = (manifest: Manifest, id: string) => manifest.keys.find((key) => key.id === id)?.state;

const CONTEXT = '0123456789abcdef0123456789abcdef';
const traits = { check: 'ab'.repeat(16) };
const one = newManifest(start, CONTEXT, 'one', traits);
const two = withPendingKey(one, start, 'two', traits);
const promoted = withPromoted(two, 'two', later(1));

test('a new keyset is of version 2, generation 1, and has one key, which is the primary', () => {
  assert.equal([one.formatVersion, one.generation, one.replaces], [2, 1, undefined]);
  assert.is(one.primary, 'one');
  assert.is(stateOf(one, 'one'), 'promoted');
  assert.is(one.contextId, CONTEXT);
});

test('a context id is 16 random bytes', () => {
  assert.match(newContextId(), /^[0-9a-f]{32}$/);
  assert.is.not(newContextId(), newContextId());
});

test('a key added later is pending and changes nothing else', () => {
  assert.is(two.primary, 'one');
  assert.is(stateOf(two, 'two'), 'pending');
  assert.equal(two.keys[0], one.keys[0]);
  assert.is(two.contextId, one.contextId);
});

test('a pending key is promoted', () => {
  assert.is(promoted.primary, 'two');
  assert.is(stateOf(promoted, 'two'), 'promoted');
  assert.is(stateOf(promoted, 'one'), 'promoted');
});

test('the primary is not promoted again', async () => {
  const error = await rejectsWithCode(() => withPromoted(two, 'one', later(1e9)), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.message, /is already the primary/);
});

test('a former primary is never promoted again', async () => {
  await rejectsWithCode(() => withPromoted(promoted, 'one', later(1e9)), 'ERR_KMS_KEYSET_RULE');
});

test('a retired key is not promoted, nor one that was restored', async () => {
  const retired = withRetired(two, 'two', start);
  await rejectsWithCode(() => withPromoted(retired, 'two', later(1e9)), 'ERR_KMS_KEYSET_RULE');
  const restored = withRestored(retired, 'two', start);
  await rejectsWithCode(() => withPromoted(restored, 'two', later(1e9)), 'ERR_KMS_KEYSET_RULE');
});

test('the primary is not retired', async () => {
  await rejectsWithCode(() => withRetired(promoted, 'two', start), 'ERR_KMS_KEYSET_RULE');
});

test('a former primary and a pending key are retired, once', async () => {
  assert.is(stateOf(withRetired(promoted, 'one', start), 'one'), 'retired');
  const retired = withRetired(two, 'two', start);
  assert.is(stateOf(retired, 'two'), 'retired');
  await rejectsWithCode(() => withRetired(retired, 'two', start), 'ERR_KMS_KEYSET_RULE');
});

test('only a retired key is restored or removed', async () => {
  for (const id of ['one', 'two']) {
    await rejectsWithCode(() => withRestored(two, id, start), 'ERR_KMS_KEYSET_RULE');
    await rejectsWithCode(() => withoutKey(two, id, start, 0), 'ERR_KMS_KEYSET_RULE');
  }
  const removed = withoutKey(withRetired(two, 'two', start), 'two', start, 0);
  assert.equal(removed.keys, one.keys);
});

test('an unknown id is named, whatever is to be done with it', async () => {
  const changes = [
    () => withPromoted(two, 'none', start),
    () => withRetired(two, 'none', start),
    () => withRestored(two, 'none', start),
    () => withoutKey(two, 'none', start, 0),
  ];
  for (const change of changes) {
    assert.match((await rejectsWithCode(change, 'ERR_KMS_KEYSET_RULE')).message, /no key none/);
  }
});

test('nothing changes the manifest it is given', () => {
  const frozen = Object.freeze({ ...two, keys: Object.freeze(two.keys.map((key) => Object.freeze(key))) });
  const manifest = frozen as unknown as Manifest;
  withPendingKey(manifest, start, 'three', traits);
  withPromoted(manifest, 'two', later(1e9));
  withRestored(withRetired(manifest, 'two', start), 'two', start);
});

test('after any series of changes the manifest is valid, and no key was the primary twice', () => {
  const change = fc.record({ what: fc.nat(4), which: fc.nat() });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      let manifest = newManifest(start, CONTEXT, 'key-0', traits);
      const primaries = ['key-0'];
      changes.forEach(({ what, which }, index) => {
        const id = manifest.keys[which % manifest.keys.length]!.id;
        try {
          if (what === 0) manifest = withPendingKey(manifest, start, `key-${String(index + 1)}`, traits);
          if (what === 1) manifest = withPromoted(manifest, id, start);
          if (what === 2) manifest = withRetired(manifest, id, start);
          if (what === 3) manifest = withRestored(manifest, id, start);
          if (what === 4) manifest = withoutKey(manifest, id, start, 0);
        } catch (error) {
          if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_KEYSET_RULE') throw error;
        }
        if (manifest.primary !== primaries.at(-1)) primaries.push(manifest.primary);
        assert.is(new Set(primaries).size, primaries.length);
      });
      assert.equal(contentOf(parseManifest(formatManifest(manifest), 'x')), manifest);
    }),
    { numRuns: 200 },
  );
});

test.run();
