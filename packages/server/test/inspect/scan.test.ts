import { FakeClock, newDirectory } from '@teapot-kms/testing';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { EtcdSnapshot } from '../../src/etcd/snapshot/etcd-snapshot.ts';
import type { RangeAnswer, RangeRequest } from '../../src/etcd/range.ts';
import { scanEtcd, scanSnapshot } from '../../src/inspect/scan.ts';
import type { ScanProgress } from '../../src/inspect/scan.ts';
import { writeSnapshot } from '../support/bolt-writer.ts';

const objects = Array.from({ length: 5 }, (_, n) => ({
  key: Buffer.from(`/registry/secrets/default/s-${n}`),
  value: Buffer.from('k8s:enc:secretbox:v1:key1:x'),
  modRevision: 10 + n,
}));

const etcd = {
  range({ key, limit }: RangeRequest): Promise<RangeAnswer> {
    const found = objects.filter((object) => object.key.compare(key) >= 0);
    const page = found.slice(0, limit);
    const header = { clusterId: 'c1', memberId: 'm1', revision: 99 };
    return Promise.resolve({ ...header, objects: page, more: found.length > limit, count: found.length });
  },
};

const rows = [
  {
    resource: 'secrets',
    provider: 'secretbox',
    name: 'key1',
    objects: 5,
    bytes: 5 * objects[0]!.value.length,
    oldestModRevision: 10,
    newestModRevision: 14,
  },
];

test('a report of etcd says where, when and at which revision', async () => {
  const clock = new FakeClock();
  const progress: ScanProgress[] = [];
  const report = await scanEtcd(etcd, {
    root: '/registry/',
    prefix: '/registry/secrets/',
    clock,
    onProgress: (one) => progress.push(one),
    pageSize: 2,
    rate: Infinity,
  });
  assert.equal(report, {
    kind: 'teapot-kms-scan',
    version: 1,
    source: { type: 'etcd', clusterId: 'c1', memberIds: ['m1'] },
    root: '/registry/',
    prefix: '/registry/secrets/',
    startedAt: '2026-01-01T00:00:00.000Z',
    finishedAt: '2026-01-01T00:00:00.000Z',
    firstRevision: 99,
    lastRevision: 99,
    objects: 5,
    bytes: rows[0]!.bytes,
    rows: [{ ...rows[0], example: '/registry/secrets/default/s-0' }],
  });
  assert.equal(progress, [
    { objects: 2, fraction: 0.4 },
    { objects: 4, fraction: 0.8 },
    { objects: 5, fraction: 1 },
  ]);
});

test('a snapshot of the same objects has the same rows', () => {
  const file = join(newDirectory(), 'snapshot.db');
  writeSnapshot(
    file,
    objects.map(({ key, value, modRevision }) => ({ key: key.toString(), value, revision: modRevision })),
  );
  const snapshot = new EtcdSnapshot(file);
  const options = { root: '/registry/', prefix: '/registry/', clock: new FakeClock(), onProgress: () => undefined };
  const report = scanSnapshot(snapshot, options);
  snapshot.close();
  assert.equal(report.rows, [{ ...rows[0], example: '/registry/secrets/default/s-4' }]);
  assert.equal([report.firstRevision, report.lastRevision], [14, 14]);
  assert.ok(report.source.type === 'snapshot' && report.source.verified);
});

test.run();
