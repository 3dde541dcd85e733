import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import * as z from 'zod';
import { isKeyId } from '../envelope/key-id.ts';
import { KmsError } from '../errors.ts';
import type { KeyProof } from './key-proof.ts';

/** Longest report that is read, in bytes: 1,000 keys take about 130 kB. */
export const MAX_REPORT_BYTES = 256 * 1024;

const hex = (bytes: number) =>
  z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`), `expected ${2 * bytes} hexadecimal digits`);

const reportSchema = z.strictObject({
  report: z.literal(1),
  replica: hex(8),
  host: z.string().max(253),
  time: z.iso.datetime('expected a time in UTC such as 2026-01-02T03:04:05Z'),
  nonce: hex(16),
  contextId: hex(16),
  generation: z.int().min(0),
  hash: hex(32),
  reads: z.array(z.int()).max(16).readonly(),
  keys: z.array(z.strictObject({ id: z.string().refine(isKeyId, 'expected a key id'), mac: hex(32) })).max(1000),
});

/** What a running replica says of its keyset, and proves (`docs/spec/keyset-v2.md` §10). Holds no secret. */
export type ReplicaReport = Readonly<z.infer<typeof reportSchema>>;

/** A report without its proofs. */
export type ReportBody = Omit<ReplicaReport, 'report' | 'keys'>;

/** @param proofs - of the keys that are loaded and verified, by key id */
export function makeReport(body: ReportBody, proofs: ReadonlyMap<string, KeyProof>): ReplicaReport {
  const ids = [...proofs.keys()];
  const signed = bodyText(body, ids);
  return { report: 1, ...ordered(body), keys: [...proofs].map(([id, proof]) => ({ id, mac: proof.mac(signed) })) };
}

/**
 * @param where - what an error names: the file
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST`
 */
export function parseReport(text: string, where: string): ReplicaReport {
  const invalid = (problem: string) =>
    new KmsError('ERR_KMS_INVALID_REQUEST', `${where}: not a report of a replica: ${problem}`, {
      remedy: 'make it with "teapot-kms status --report" on the replica',
    });
  if (text.length > MAX_REPORT_BYTES) throw invalid(`more than ${MAX_REPORT_BYTES} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid('it is not JSON');
  }
  const parsed = reportSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw invalid(`${path.join('.')}: ${message}`);
}

/** Whether the replica that made the report holds the key. */
export function provesKey(report: ReplicaReport, keyId: string, proof: KeyProof): boolean {
  const entry = report.keys.find(({ id }) => id === keyId);
  const ids = report.keys.map(({ id }) => id);
  return entry !== undefined && proof.verifies(bodyText(report, ids), entry.mac);
}

/** What the MACs of a report show: the ids of keys, in the order of the report. */
export interface ReportProof {
  /** The replica holds these keys. One of them suffices to show that the report is as it was made. */
  readonly proven: readonly string[];
  /** The report was changed, or the replica has another key under the id. */
  readonly refuted: readonly string[];
  /** Nobody here has these keys. */
  readonly unknown: readonly string[];
}

/** Verifies each MAC of a report. @param proofs - of the keys that are here, by key id */
export function verifyReport(report: ReplicaReport, proofs: ReadonlyMap<string, KeyProof>): ReportProof {
  const ids = report.keys.map(({ id }) => id);
  const known = ids.filter((id) => proofs.has(id));
  const proven = known.filter((id) => provesKey(report, id, proofs.get(id)!));
  return {
    proven,
    refuted: known.filter((id) => !proven.includes(id)),
    unknown: ids.filter((id) => !proofs.has(id)),
  };
}

/**
 * Names a replica: the host's boot, and the socket that it serves.
 * @param mounts - the mount namespace: two pods of a host may serve the same path, each in its own file system
 */
export function replicaId(socketPath: string, mounts = readlinkSync('/proc/self/ns/mnt')): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  return createHash('sha256').update(`${boot}\0${mounts}\0${socketPath}`).digest('hex').slice(0, 16);
}

function ordered({ replica, host, time, nonce, contextId, generation, hash, reads }: ReportBody): ReportBody {
  return { replica, host, time, nonce, contextId, generation, hash, reads };
}

const bodyText = (body: ReportBody, keyIds: readonly string[]): string =>
  JSON.stringify({ report: 1, ...ordered(body), keys: keyIds.map((id) => ({ id })) });
