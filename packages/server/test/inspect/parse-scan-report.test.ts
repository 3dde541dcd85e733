import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { ftruncateSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseScanReport, readScanReport } from '../../src/inspect/parse-scan-report.ts';
import { rowOf, scanOf } from '../support/scans.ts';

const good = scanOf([rowOf('fresh')]);
const snapshot = { type: 'snapshot', file: 'a.db', bytes: 1, sha256: 'ab'.repeat(32), verified: true } as const;

test('a report is read as the scan wrote it', () => {
  for (const report of [good, { ...good, source: snapshot }]) {
    assert.equal(parseScanReport(JSON.stringify(report), 'scan.json'), report);
  }
});

const bad: [what: string, json: string, message: RegExp][] = [
  ['a text that is no JSON', 'RESOURCE PROVIDER', /^scan.json: not a report of a scan: it is not JSON$/],
  ['half of a report', JSON.stringify(good).slice(0, 200), /it is not JSON/],
  ['another JSON', '[]', /not a report of a scan/],
  ['another kind', JSON.stringify({ ...good, kind: 'other' }), /kind: expected "teapot-kms-scan"/],
  ['another version', JSON.stringify({ ...good, version: 2 }), /version: expected 1/],
  ['a field that nobody knows', JSON.stringify({ ...good, more: 1 }), /more/],
  ['a time without a zone', JSON.stringify({ ...good, startedAt: '2026-01-02' }), /startedAt: expected a time in UTC/],
  ['a negative count', JSON.stringify({ ...good, rows: [rowOf('a', { objects: -1 })] }), /rows.0.objects: expected/],
  ['a report without a row that it counts', JSON.stringify({ ...good, rows: [] }), /expected the sum over all rows/],
  ['a prefix outside the root', JSON.stringify({ ...good, prefix: '/other/' }), /prefix: expected one below the root/],
  [
    'a cluster id that is none',
    JSON.stringify({ ...good, source: { ...good.source, clusterId: '' } }),
    /source.clusterId: expected 1-16 hex/,
  ],
];
for (const [what, json, message] of bad) {
  test(`${what} is refused`, async () => {
    const error = await rejectsWithCode(() => parseScanReport(json, 'scan.json'), 'ERR_KMS_INVALID_REQUEST');
    assert.match(error.message, message);
    assert.match(error.remedy ?? '', 'teapot-kms scan --report FILE');
  });
}

test('a file that is too long is refused before it is read', async () => {
  const file = join(newDirectory(), 'scan.json');
  writeFileSync(file, '');
  ftruncateSync(openSync(file, 'r+'), 33 * 1024 * 1024);
  const error = await rejectsWithCode(() => readScanReport(file), 'ERR_KMS_INVALID_REQUEST');
  assert.match(error.message, 'too long: expected at most 33554432 bytes');
});

test.run();
