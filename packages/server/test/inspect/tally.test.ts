import { EnvelopeKey, SecretBytes } from '@teapot-kms/core';
import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tally } from '../../src/inspect/tally.ts';
import { keyIdHash } from '../../src/kms/key-id-hash.ts';
import { kmsV1, kmsV2 } from '../support/stored-values.ts';

const envelope = (keyId: string, wrapped = Buffer.alloc(0)): Buffer => {
  const key = new SecretBytes(randomBytes(32));
  return new EnvelopeKey({ key, keyId, contextId: Buffer.alloc(16), wrapped }).seal(randomBytes(32));
};

function counted(...objects: readonly (readonly [key: string, value: Buffer, modRevision?: number])[]) {
  const tally = new Tally('/registry/');
  for (const [key, value, modRevision = 5] of objects) tally.add({ key: Buffer.from(key), value, modRevision });
  return tally;
}

test('objects are counted by resource, provider and key, with their oldest and newest revision', () => {
  const [old, fresh] = [envelope('old'), envelope('fresh')];
  const tally = counted(
    ['/registry/secrets/a/1', kmsV2({ keyId: 'old', encryptedDekSource: old }), 9],
    ['/registry/secrets/a/2', kmsV2({ keyId: 'fresh', encryptedDekSource: fresh }), 8],
    ['/registry/secrets/a/3', kmsV2({ keyId: 'old', encryptedDekSource: old }), 7],
    ['/registry/configmaps/a/1', Buffer.from('{}'), 3],
  );
  const kms = { resource: 'secrets', provider: 'kms:v2', name: 'teapot-main', envelope: 'teapot-v1' };
  const bytes = kmsV2({ keyId: 'old', encryptedDekSource: old }).length;
  assert.equal(tally.rows(), [
    {
      resource: 'configmaps',
      provider: 'identity',
      objects: 1,
      bytes: 2,
      oldestModRevision: 3,
      newestModRevision: 3,
      example: '/registry/configmaps/a/1',
    },
    {
      ...kms,
      keyId: 'old',
      keyIdHash: keyIdHash('old'),
      objects: 2,
      bytes: 2 * bytes,
      oldestModRevision: 7,
      newestModRevision: 9,
      example: '/registry/secrets/a/1',
    },
    {
      ...kms,
      keyId: 'fresh',
      keyIdHash: keyIdHash('fresh'),
      objects: 1,
      bytes: bytes + 4,
      oldestModRevision: 8,
      newestModRevision: 8,
      example: '/registry/secrets/a/2',
    },
  ]);
  assert.is(tally.objects, 4);
});

test('with KMS v1, the envelope names the key', () => {
  const [row] = counted(['/registry/secrets/a/1', kmsV1(envelope('key-7'))]).rows();
  assert.equal([row!.provider, row!.keyId, row!.keyIdHash], ['kms:v1', 'key-7', keyIdHash('key-7')]);
});

test("another plugin's objects have the key id that it gave", () => {
  const value = kmsV2({ name: 'vault', keyId: '1690000000', encryptedDekSource: Buffer.from('vault:v1:x') });
  const [row] = counted(['/registry/secrets/a/1', value]).rows();
  assert.equal([row!.name, row!.keyId, row!.envelope], ['vault', '1690000000', 'other']);
});

test('an object whose envelope names another key is a problem', () => {
  const value = kmsV2({ keyId: 'a', encryptedDekSource: envelope('b') });
  const [row] = counted(['/registry/secrets/a/1', value]).rows();
  assert.match(row!.problem!, 'ERR_KMS_KEY_ID_MISMATCH');
});

test('a damaged envelope is a problem', () => {
  const value = kmsV2({ keyId: 'a', encryptedDekSource: envelope('a').subarray(0, 20) });
  const [row] = counted(['/registry/secrets/a/1', value]).rows();
  assert.is(row!.envelope, 'teapot-damaged');
  assert.match(row!.problem!, 'the envelope is damaged');
});

test('a malformed value is counted and named', () => {
  const [row] = counted(['/registry/secrets/a/1', Buffer.from('k8s:enc:kms:v2:n:x')]).rows();
  assert.equal([row!.provider, row!.example], ['malformed', '/registry/secrets/a/1']);
});

test('more rows than fit into memory are refused and not left out; a scan of one resource counts the rest', async () => {
  const tally = counted();
  const add = (n: number) =>
    tally.add({ key: Buffer.from(`/registry/r${n}/a`), value: Buffer.from('{}'), modRevision: 1 });
  for (let n = 0; n < 20_000; n++) add(n);
  add(0);
  const { remedy } = await rejectsWithCode(() => add(20_000), 'ERR_KMS_LIMIT_EXCEEDED');
  assert.match(remedy ?? '', /^scan one resource at a time with --only/);
  assert.is(counted(['/registry/r20000/a', Buffer.from('{}')]).objects, 1);
});

test.run();
