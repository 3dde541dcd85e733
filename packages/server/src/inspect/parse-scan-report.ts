import { KmsError } from '@teapot-kms/core';
import * as z from 'zod';
import { readInputFile } from '../input-file.ts';
import type { ScanReport } from './scan-report.ts';

/** Longest report that is read, in bytes: 20,000 rows, the most of a scan, with long names take about 16 MB. */
const MAX_SCAN_BYTES = 32 * 1024 * 1024;
const MAX_ROWS = 20_000;

const count = z.int('expected a whole number').min(0, 'expected a whole number of at least 0');
const text = z.string();
const time = z.iso.datetime('expected a time in UTC such as 2026-01-02T03:04:05Z');
const hex = (max: number) =>
  z.string().regex(new RegExp(`^[0-9a-f]{1,${max}}$`), `expected 1-${max} hexadecimal digits, lower case`);

const rowSchema = z.strictObject({
  resource: text,
  provider: text,
  name: text.optional(),
  keyId: text.optional(),
  keyIdHash: text.optional(),
  envelope: z.enum(['teapot-v1', 'teapot-damaged', 'other']).optional(),
  problem: text.optional(),
  objects: count,
  bytes: count,
  oldestModRevision: count,
  newestModRevision: count,
  example: text,
});

const sourceSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('etcd'), clusterId: hex(16), memberIds: z.array(hex(16)).max(1000) }),
  z.strictObject({
    type: z.literal('snapshot'),
    file: text,
    bytes: count,
    sha256: hex(64),
    verified: z.boolean(),
  }),
]);

const scanSchema = z
  .strictObject({
    kind: z.literal('teapot-kms-scan', 'expected "teapot-kms-scan"'),
    version: z.literal(1, 'expected 1'),
    source: sourceSchema,
    root: text,
    prefix: text,
    startedAt: time,
    finishedAt: time,
    firstRevision: count,
    lastRevision: count,
    objects: count,
    bytes: count,
    rows: z.array(rowSchema).max(MAX_ROWS),
  })
  .refine(({ root, prefix }) => root.endsWith('/') && prefix.startsWith(root), 'prefix: expected one below the root')
  .refine(
    ({ objects, rows }) => rows.reduce((sum, row) => sum + row.objects, 0) === objects,
    'objects: expected the sum over all rows; the file is not as the scan wrote it',
  );

/**
 * @param where - what an error names: the file
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST`
 */
export function parseScanReport(json: string, where: string): ScanReport {
  const invalid = (problem: string) =>
    new KmsError('ERR_KMS_INVALID_REQUEST', `${where}: not a report of a scan: ${problem}`, {
      remedy: 'make it with "teapot-kms scan --report FILE", with the same version of Teapot KMS',
    });
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw invalid('it is not JSON');
  }
  const parsed = scanSchema.safeParse(value);
  // zod's optional fields may be undefined; JSON has no undefined.
  if (parsed.success) return parsed.data as ScanReport;
  const { path, message } = parsed.error.issues[0]!;
  throw invalid(path.length === 0 ? message : `${path.join('.')}: ${message}`);
}

/** {@link parseScanReport} of a file. @throws as {@link readInputFile} too */
export function readScanReport(file: string): ScanReport {
  return parseScanReport(readInputFile(file, MAX_SCAN_BYTES).toString('utf8'), file);
}
