import type { ScanReport } from '../../src/inspect/scan-report.ts';
import type { TallyRow } from '../../src/inspect/tally.ts';

/** Objects under a key, as a scan counts them. */
export const rowOf = (keyId: string, change: Partial<TallyRow> = {}): TallyRow => ({
  resource: 'secrets',
  provider: 'kms:v2',
  name: 'teapot-main',
  keyId,
  envelope: 'teapot-v1',
  objects: 3,
  bytes: 900,
  oldestModRevision: 5,
  newestModRevision: 9,
  example: '/registry/secrets/default/one',
  ...change,
});

/** A scan of etcd which found these rows. */
export const scanOf = (rows: readonly TallyRow[], change: Partial<ScanReport> = {}): ScanReport => ({
  kind: 'teapot-kms-scan',
  version: 1,
  source: { type: 'etcd', clusterId: 'c1', memberIds: ['a1'] },
  root: '/registry/',
  prefix: '/registry/',
  startedAt: '2026-01-02T04:00:00.000Z',
  finishedAt: '2026-01-02T04:01:00.000Z',
  firstRevision: 99,
  lastRevision: 99,
  objects: rows.reduce((sum, { objects }) => sum + objects, 0),
  bytes: rows.reduce((sum, { bytes }) => sum + bytes, 0),
  rows,
  ...change,
});
