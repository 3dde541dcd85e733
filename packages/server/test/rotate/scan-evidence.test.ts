import type { Manifest } from '@teapot-kms/core';
import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ScanReport } from '../../src/inspect/scan-report.ts';
import { checkUnneeded, describeScans } from '../../src/rotate/scan-evidence.ts';
import type { ScanEvidence } from '../../src/rotate/scan-evidence.ts';
import { rowOf, scanOf } from '../support/scans.ts';

const entry = { created: '2026-01-01T00:00:00.000Z', since: '2026-01-01T00:00:00.000Z' };
const manifest: Manifest = {
  formatVersion: 2,
  contextId: '01'.repeat(16),
  generation: 3,
  primary: 'fresh',
  keys: [
    { id: 'old', state: 'promoted', ...entry },
    { id: 'fresh', state: 'promoted', ...entry, since: '2026-01-02T03:00:00.000Z' },
    { id: 'gone', state: 'retired', ...entry },
  ],
};
const good = scanOf([rowOf('fresh')]);

const check = (reports: readonly ScanReport[], more: Partial<ScanEvidence> = {}, keyId = 'old'): void =>
  checkUnneeded(manifest, keyId, {
    scans: reports.map((report, n) => ({ where: `scan-${n}.json`, report })),
    now: new Date('2026-01-02T05:00:00.000Z'),
    ...more,
  });

test('a scan after the promotion that finds only objects of the primary lets an older key go', () => {
  check([good]);
  check([scanOf([rowOf('fresh'), { ...rowOf('x'), provider: 'identity' }])], { clusterIds: ['c1'] });
});

test('a scan that begins four minutes after the promotion is the first that counts', async () => {
  check([{ ...good, startedAt: '2026-01-02T03:04:00.000Z' }]);
  await rejectsWithCode(() => check([{ ...good, startedAt: '2026-01-02T03:03:59.999Z' }]), 'ERR_KMS_KEYSET_RULE');
});

test('a key that cannot be retired gets its error from the change itself', () => {
  for (const keyId of ['fresh', 'gone', 'unknown']) check([scanOf([rowOf(keyId)])], {}, keyId);
});

const snapshot = { type: 'snapshot', file: 'a.db', bytes: 1, sha256: 'ab'.repeat(32), verified: true } as const;
const ofCluster = (clusterId: string) => ({ ...good, source: { ...good.source, clusterId } }) as ScanReport;
const partial = { ...good, prefix: '/registry/secrets/' };
type Fault = [what: string, report: ScanReport, message: RegExp, remedy: RegExp, more?: Partial<ScanEvidence>];
const faults: Fault[] = [
  [
    'finds objects of the key',
    scanOf([rowOf('fresh'), rowOf('old')]),
    /^scan-0.json: key old is needed by 3 secrets, the first is \/registry\/secrets\/default\/one$/,
    /rewrite these resources, and scan again/,
  ],
  [
    'finds objects of the key with KMS v1',
    scanOf([rowOf('fresh'), rowOf('old', { provider: 'kms:v1' })]),
    /key old is needed by 3 secrets/,
    /rewrite/,
  ],
  [
    'finds objects of which nobody knows the key',
    scanOf([rowOf('fresh'), { ...rowOf('x'), provider: 'malformed', problem: 'too short' }]),
    /no plugin can decrypt 3 secrets, .*one, so nobody knows which key they need: too short/,
    /repair or delete/,
  ],
  [
    'is one of a snapshot',
    { ...good, source: snapshot },
    /scan-0.json: the scan is one of a snapshot, which shows the past/,
    /scan etcd itself/,
  ],
  [
    'began before the promotion',
    { ...good, startedAt: '2026-01-02T02:00:00.000Z' },
    /began at 2026-01-02T02:00:00.000Z, and key fresh is the primary since 2026-01-02T03:00:00.000Z/,
    /rewrite all data, and scan after 2026-01-02T03:04:00.000Z/,
  ],
  [
    'began in the future',
    { ...good, startedAt: '2026-01-02T05:01:00.001Z' },
    /began at .*, in the future/,
    /set the clocks/,
  ],
  [
    'finds nothing of the primary',
    scanOf([rowOf('of another keyset')]),
    /cluster c1 below \/registry\/: none of 3 objects is encrypted with the primary, key fresh/,
    /the cluster that uses this keyset, with its --etcd-prefix/,
  ],
  ['finds nothing at all', scanOf([]), /none of 0 objects is encrypted with the primary/, /create a Secret/],
  [
    'leaves a resource out',
    partial,
    /cluster c1 .*names resources that were not scanned: configmaps \(\/registry\/configmaps\/\)$/,
    /without --only/,
    { resources: ['secrets', 'configmaps'] },
  ],
  [
    'leaves out where a custom resource may lie',
    { ...good, prefix: '/registry/widgets/' },
    /widgets.example.com \(\/registry\/example.com\/widgets\/\)/,
    /without --only/,
    { resources: ['widgets.example.com'] },
  ],
  [
    'leaves out something of all resources',
    partial,
    /\*\.\* \(\/registry\/\)/,
    /without --only/,
    { resources: ['*.*'] },
  ],
  [
    'is of another cluster',
    good,
    /there is no scan of cluster c2/,
    /scan the etcd of each cluster/,
    { clusterIds: ['c1', 'c2'] },
  ],
];
for (const [what, report, message, remedy, more] of faults) {
  test(`a scan that ${what} is no evidence, and one that is made as the error says is`, async () => {
    const error = await rejectsWithCode(() => check([report], more), 'ERR_KMS_KEYSET_RULE');
    assert.match(error.message, message);
    assert.match(error.remedy ?? '', remedy);
    check([good, ofCluster('c2')], more);
  });
}

test('the error names everything that is missing, and each remedy once', async () => {
  const rows = [rowOf('old'), rowOf('old', { resource: 'configmaps' })];
  const error = await rejectsWithCode(() => check([scanOf(rows)]), 'ERR_KMS_KEYSET_RULE');
  assert.is(error.message.split('\n').length, 3);
  assert.is(error.remedy?.split('rewrite these resources').length, 2);
});

test('scans of parts of a cluster count together', () => {
  const [secrets, rest] = ['secrets', 'configmaps'].map((one) => ({ ...good, prefix: `/registry/${one}/` }));
  check([secrets!, { ...rest!, rows: [], objects: 0 }], { resources: ['secrets', 'configmaps'] });
});

test('a scan of one cluster says nothing of another', async () => {
  const other = { ...ofCluster('c2'), prefix: '/registry/secrets/' };
  check([good, other]);
  const covers = { resources: ['secrets', 'configmaps'] };
  const error = await rejectsWithCode(() => check([good, other], covers), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.message, /^cluster c2 /);
  assert.not.match(error.message, /c1/);
});

test('the prefix distinguishes two clusters in one etcd', async () => {
  const other = scanOf([rowOf('x')], { root: '/other/', prefix: '/other/' });
  const error = await rejectsWithCode(() => check([good, other]), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.message, /^cluster c1 below \/other\/: none of 3 objects/);
});

test('what was scanned is described by cluster, prefix and encrypted resources', () => {
  const rows = [rowOf('fresh'), rowOf('x', { resource: 'configmaps', provider: 'identity' })];
  assert.is(
    describeScans({ scans: [{ where: 'scan.json', report: scanOf(rows) }], now: new Date(0) }),
    'cluster c1 below /registry/: scanned /registry/: 6 objects; encrypted are secrets',
  );
});

test.run();
