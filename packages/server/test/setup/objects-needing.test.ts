import { FakeClock } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { RangeAnswer, RangeRequest } from '../../src/etcd/range.ts';
import { Tally } from '../../src/inspect/tally.ts';
import { countNeeding, objectsNeeding } from '../../src/setup/objects-needing.ts';

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

/** An etcd of so many objects, each with this value, and the pages that were read of it. */
function etcdOf(objects: number, value: Buffer) {
  const all = Array.from({ length: objects }, (_, n) => {
    return { key: Buffer.from(`/registry/secrets/a/${String(n).padStart(6, '0')}`), value, modRevision: 1 };
  });
  const etcd = { pages: 0, range };
  function range({ key, limit }: RangeRequest): Promise<RangeAnswer> {
    etcd.pages++;
    const found = all.filter((object) => object.key.compare(key) >= 0);
    const more = found.length > limit;
    const header = { clusterId: 'c', memberId: 'm', revision: 1 };
    return Promise.resolve({ ...header, objects: found.slice(0, limit), more, count: found.length });
  }
  return etcd;
}
async function counted(etcd: ReturnType<typeof etcdOf>, most: number) {
  const clock = new FakeClock();
  const shown: number[] = [];
  const about = { root: '/registry/', provider: 'teapot-main', most, clock };
  const counting = countNeeding(etcd, { ...about, onProgress: ({ fraction }) => shown.push(fraction) });
  await clock.advance(60_000);
  return { needing: await counting, shown };
}

test('all of etcd is counted, and the progress is shown', async () => {
  assert.equal(await counted(etcdOf(1_000, kms('teapot-main')), Infinity), { needing: 1_000, shown: [0.5, 1] });
});

test('whether any object needs it is known at the first one', async () => {
  const etcd = etcdOf(5_000, kms('teapot-main'));
  assert.ok((await counted(etcd, 1)).needing >= 1);
  assert.is(etcd.pages, 1);
});

test.run();
