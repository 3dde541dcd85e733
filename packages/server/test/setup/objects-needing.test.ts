import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tally } from '../../src/inspect/tally.ts';
import { objectsNeeding } from '../../src/setup/objects-needing.ts';

function count(...values: readonly Buffer[]): number {
  const tally = new Tally('/registry/');
  values.forEach((value, index) =>
    tally.add({ key: Buffer.from(`/registry/secrets/a/${index}`), value, modRevision: 1 }),
  );
  return objectsNeeding(tally.rows(), 'teapot-main');
}
// EncryptedObject: encryptedData, keyID, encryptedDEKSource, encryptedDEKSourceType.
const object = Buffer.concat([
  Buffer.from([0x0a, 60, ...Buffer.alloc(60, 7)]),
  Buffer.from([0x12, 1, 0x6b, 0x1a, 4, 1, 2, 3, 4, 0x28, 1]),
]);
const kms = (name: string): Buffer => Buffer.concat([Buffer.from(`k8s:enc:kms:v2:${name}:`), object]);

test('objects of the provider count, as a scan finds them', () =>
  assert.is(count(kms('teapot-main'), kms('teapot-main')), 2));

test('objects of other providers, and plain ones, do not', () =>
  assert.is(count(kms('teapot-main-2'), Buffer.from('k8s:enc:aescbc:v1:key1:xyz'), Buffer.from('k8s\0 plain')), 0));

test('a malformed one may be ours', () => assert.is(count(Buffer.from('k8s:enc:kms:v2:')), 1));

test.run();
