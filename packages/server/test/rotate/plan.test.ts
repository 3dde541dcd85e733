// Every state of a keyset × every fault of what is known about it: the next step of a rotation.
import type { KeyProof, ManifestEntry, ReplicaReport, StoredManifest } from '@teapot-kms/core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { keyIdHash } from '../../src/kms/key-id-hash.ts';
import { plan } from '../../src/rotate/plan.ts';
import type { PlanInput, ServerView, Step } from '../../src/rotate/plan.ts';
import type { ScanReport } from '../../src/inspect/scan-report.ts';
import { rowOf, scanOf } from '../support/scans.ts';

const now = new Date('2026-01-02T05:00:00.000Z');
const contextId = '01'.repeat(16);
const hash = 'ab'.repeat(32);

function entry(id: string, state: ManifestEntry['state'], since = '2026-01-02T03:00:00.000Z'): ManifestEntry {
  return { id, state, created: since, since };
}
const keysetOf = (...keys: readonly ManifestEntry[]): StoredManifest => {
  return { formatVersion: 2, contextId, generation: 5, hash, primary: 'fresh', keys };
};
const fresh = entry('fresh', 'promoted');
const aged = entry('fresh', 'promoted', '2025-01-01T00:00:00.000Z');

/** A proof as the store's, without a key: it takes the MAC `good`. */
const proof = { verifies: (_: string, mac: string) => mac === 'good' } as unknown as KeyProof;
const reportOf = (replica: string, change: Partial<ReplicaReport> = {}): ReplicaReport => ({
  report: 1,
  replica,
  host: `node-${replica}`,
  time: now.toISOString(),
  nonce: '00'.repeat(16),
  contextId,
  generation: 5,
  hash,
  reads: [1, 2],
  keys: [{ id: 'next', mac: 'good' }],
  ...change,
});
const serverOf = (server: string, keyId = 'fresh', forMs = 3_600_000): ServerView => {
  return { server, keyIdHash: keyIdHash(keyId), forMs, since: 0 };
};
const scansOf = (report: ScanReport) => ({ scans: [{ where: 'scan.json', report }] });
const unneeded = scanOf([rowOf('fresh')], { startedAt: '2026-01-02T04:30:00.000Z' });

const good: Omit<PlanInput, 'manifest'> = {
  proofs: new Map([['next', proof]]),
  replicas: { reports: [reportOf('1'), reportOf('2')], replicas: 2 },
  servers: [serverOf('a'), serverOf('b')],
  scans: scansOf(unneeded),
  renewAfterMs: 90 * 24 * 3_600_000,
  now,
};

const states: Readonly<Record<string, StoredManifest | undefined>> = {
  'no keyset': undefined,
  'a young primary': keysetOf(fresh),
  'a young primary, older keys retired': keysetOf(entry('old', 'retired'), fresh),
  'an aged primary': keysetOf(aged),
  'a pending key': keysetOf(aged, entry('next', 'pending')),
  'two pending keys': keysetOf(fresh, entry('next', 'pending'), entry('more', 'pending')),
  'a former primary': keysetOf(entry('old', 'promoted'), fresh),
};

const replicas = (...reports: readonly ReplicaReport[]) => ({ replicas: { reports, replicas: 2 } });
const snapshot = { type: 'snapshot', file: 'a.db', bytes: 1, sha256: hash, verified: true } as const;

/** What differs from {@link good}, and the step of the states where that changes it. */
const faults: [fault: string, change: Partial<PlanInput>, step: Readonly<Record<string, Step>>, reason: RegExp][] = [
  ['nothing', {}, {}, /./],
  [
    'no report',
    replicas(),
    { 'an aged primary': 'preflight', 'a pending key': 'wait-for-replicas' },
    /0 of 2 replicas have reported/,
  ],
  [
    'a replica that does not report',
    replicas(reportOf('1')),
    { 'an aged primary': 'preflight', 'a pending key': 'wait-for-replicas' },
    /1 of 2 replicas/,
  ],
  [
    'a replica with an older keyset',
    replicas(reportOf('1'), reportOf('2', { generation: 4, hash: 'cd'.repeat(32) })),
    { 'an aged primary': 'preflight', 'a pending key': 'wait-for-replicas' },
    /node-2 uses generation 4/,
  ],
  [
    'an old report',
    replicas(reportOf('1'), reportOf('2', { time: '2026-01-02T04:00:00.000Z' })),
    { 'an aged primary': 'preflight', 'a pending key': 'wait-for-replicas' },
    /node-2 has reported 60 min ago/,
  ],
  [
    'a replica with another key under the id',
    replicas(reportOf('1'), reportOf('2', { keys: [{ id: 'next', mac: 'other' }] })),
    { 'a pending key': 'wait-for-replicas' },
    /node-2 does not hold key next/,
  ],
  ['a key that the store does not have', { proofs: new Map() }, { 'a pending key': 'blocked' }, /does not show.*next/],
  ['no kube-apiserver', { servers: [] }, { 'a former primary': 'wait-for-servers' }, /no kube-apiserver/],
  [
    'a kube-apiserver with the old key',
    { servers: [serverOf('a'), serverOf('b', 'old')] },
    { 'a former primary': 'wait-for-servers' },
    /^kube-apiserver b uses key sha256:\w+, and not sha256:\w+$/,
  ],
  [
    'a kube-apiserver that nobody has looked at',
    { servers: [serverOf('a'), { ...serverOf('b'), keyIdHash: undefined }] },
    { 'a former primary': 'wait-for-servers' },
    /^kube-apiserver b runs, and nothing shows which key it uses$/,
  ],
  [
    'a kube-apiserver that has just switched',
    { servers: [serverOf('a'), serverOf('b', 'fresh', 179_999)] },
    { 'a former primary': 'wait-for-servers' },
    /^kube-apiserver b uses the primary since 179 s, and must for 180 s$/,
  ],
  ['no scan', { scans: undefined }, { 'a former primary': 'scan' }, /nobody has looked/],
  [
    'a scan before the promotion',
    { scans: scansOf({ ...unneeded, startedAt: '2026-01-02T02:00:00.000Z' }) },
    { 'a former primary': 'scan' },
    /could still write with an older key/,
  ],
  [
    'a scan before the last kube-apiserver switched',
    { servers: [serverOf('a'), serverOf('b', 'fresh', 1_900_000)] },
    { 'a former primary': 'scan' },
    /scan.json: a kube-apiserver could still write/,
  ],
  [
    'a scan of a snapshot',
    { scans: scansOf({ ...unneeded, source: snapshot }) },
    { 'a former primary': 'scan' },
    /snapshot/,
  ],
  [
    'a scan of a part',
    { scans: { ...scansOf({ ...unneeded, prefix: '/registry/secrets/' }), resources: ['*.*'] } },
    { 'a former primary': 'scan' },
    /names resources that were not scanned/,
  ],
  [
    'objects of the old key',
    { scans: scansOf({ ...unneeded, ...rowsOf(rowOf('fresh'), rowOf('old')) }) },
    { 'a former primary': 'rewrite' },
    /key old is needed by 3 secrets/,
  ],
  [
    'only objects of the old key',
    { scans: scansOf({ ...unneeded, ...rowsOf(rowOf('old')) }) },
    { 'a former primary': 'rewrite' },
    /key old is needed by 3 secrets/,
  ],
  [
    'objects that nobody can decrypt',
    { scans: scansOf({ ...unneeded, ...rowsOf(rowOf('fresh'), rowOf('x', { problem: 'damaged' })) }) },
    { 'a former primary': 'blocked' },
    /nobody knows which key they need: damaged/,
  ],
  [
    'a scan of another cluster',
    { scans: scansOf({ ...unneeded, ...rowsOf(rowOf('x')) }) },
    { 'a former primary': 'blocked' },
    /none of 3 objects is encrypted with the primary/,
  ],
];

function rowsOf(...rows: readonly ReturnType<typeof rowOf>[]): Pick<ScanReport, 'rows' | 'objects'> {
  return { rows, objects: 3 * rows.length };
}

/** Of each state, where nothing is wrong with what this state needs. */
const steps: Readonly<Record<string, Step>> = {
  'no keyset': 'blocked',
  'a young primary': 'done',
  'a young primary, older keys retired': 'done',
  'an aged primary': 'generate',
  'a pending key': 'promote',
  'two pending keys': 'blocked',
  'a former primary': 'retire',
};

/** What a step says to do. Where evidence is missing, the evidence says it. */
const remedies: Readonly<Partial<Record<Step, RegExp>>> = {
  generate: /^keys generate; then copy the keyset to the other nodes$/,
  promote: /^keys promote next; then copy keyset.yaml to the other nodes$/,
  'wait-for-servers':
    /^wait; if it takes more than five minutes, look with "teapot-kms status"|^name the URL of each kube-apiserver/,
  scan: /scan/,
  rewrite: /^rewrite these resources, and scan again$/,
  retire: /^keys retire old --scan FILE$/,
  done: /^nothing; the next rotation is due at 2026-/,
};

for (const [state, manifest] of Object.entries(states)) {
  for (const [fault, change, changed, reason] of faults) {
    const step = changed[state] ?? steps[state];
    test(`${state}, ${fault}: ${step}`, () => {
      const next = plan({ ...good, ...change, manifest });
      assert.is(next.step, step, next.reason);
      if (changed[state] !== undefined) assert.match(next.reason, reason);
      assert.match(next.remedy, remedies[next.step] ?? /./);
    });
  }
}

test('a key with a copy outside its token has a successor with a copy', () => {
  const manifest = keysetOf({ ...aged, imported: true });
  assert.match(plan({ ...good, manifest }).remedy, /^keys generate --escrow-to AGE-KEY --escrow-file FILE; then/);
});

test('a scan of this process began after the kube-apiservers had settled: no clock is compared', () => {
  const report = { ...unneeded, startedAt: '2026-01-02T02:00:00.000Z' };
  const scans = { scans: [{ where: 'this scan', report, ordered: true }] };
  assert.is(plan({ ...good, scans, manifest: states['a former primary'] }).step, 'retire');
});

test('kube-apiservers may be given longer than their old seed lives', () => {
  const { step, reason } = plan({ ...good, settleMs: 7_200_000, manifest: states['a former primary'] });
  assert.is(step, 'wait-for-servers');
  assert.match(reason, 'kube-apiserver a uses the primary since 3600 s, and must for 7200 s');
});

test.run();
