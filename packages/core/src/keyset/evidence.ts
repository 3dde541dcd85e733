import { KmsError } from '../errors.ts';
import type { KeyProof } from './key-proof.ts';
import type { StoredManifest } from './manifest.ts';
import { RESTORE_KEYS } from './restoring.ts';
import { provesKey, verifyReport } from './report.ts';
import type { ReplicaReport } from './report.ts';

/** Age in ms at which a report says nothing of the present any more. */
const MAX_AGE_MS = 10 * 60_000;
/** How far in ms the clocks of two hosts may differ. */
export const MAX_SKEW_MS = 60_000;

export interface Evidence {
  readonly reports: readonly ReplicaReport[];
  /** How many replicas there are. Only an operator knows. */
  readonly replicas: number;
  readonly now: Date;
}

/**
 * Checks that every replica uses this manifest and holds a key, so that it can be promoted (design D14).
 * @param proof - of the key as the store has it
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE`, which names each replica that does not, and why
 */
export function checkHeldByAll(manifest: StoredManifest, keyId: string, proof: KeyProof, evidence: Evidence): void {
  const holds = (report: ReplicaReport) =>
    doubtOf(report, manifest, evidence.now) ??
    (provesKey(report, keyId, proof) ? undefined : `does not hold key ${keyId}, or another key under this id`);
  checkAll(evidence, holds, 'copy the keyset to this replica, wait until it has loaded it, and make a new report');
}

/**
 * Checks that every replica uses this manifest and reads a format version, so that the keyset can be converted.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE`
 */
export function checkReadByAll(manifest: StoredManifest, version: number, evidence: Evidence): void {
  const reads = (report: ReplicaReport) =>
    doubtOf(report, manifest, evidence.now) ??
    (report.reads.includes(version) ? undefined : `does not read format version ${version}`);
  checkAll(evidence, reads, 'upgrade the plugin of this replica, and make a new report');
}

/**
 * Checks that no replica holds other keys than the store. A conversion gives what the store has under an id a check value for ever.
 * @param proofs - of the keys as the store has them, by key id. Keys in a token have none in version 1
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE`, which names each replica that contradicts the store, and the keys
 */
export function checkSameKeys(proofs: ReadonlyMap<string, KeyProof>, evidence: Evidence): void {
  const contradiction = (report: ReplicaReport): string | undefined => {
    const { refuted, unknown } = verifyReport(report, proofs);
    if (refuted.length > 0) return `holds other bytes than the store under the id ${refuted.join(', ')}`;
    return unknown.length > 0 ? `holds key ${unknown.join(', ')}, which the store does not have whole` : undefined;
  };
  checkAll(
    evidence,
    contradiction,
    `find out which of the two opens the data, before a plugin restarts. If it is the key of the replica: ${RESTORE_KEYS}. Then make new reports`,
  );
}

function checkAll(
  { reports, replicas }: Evidence,
  problemOf: (report: ReplicaReport) => string | undefined,
  remedy: string,
): void {
  const problems = reports.flatMap((report) => {
    const problem = problemOf(report);
    return problem === undefined ? [] : [`replica ${report.replica} on ${report.host} ${problem}`];
  });
  if (problems.length > 0) throw new KmsError('ERR_KMS_KEYSET_RULE', problems.join('\n'), { remedy });
  const distinct = new Set(reports.map(({ replica }) => replica)).size;
  if (distinct >= replicas) return;
  throw new KmsError('ERR_KMS_KEYSET_RULE', `${distinct} of ${replicas} replicas have reported`, {
    remedy: 'run "teapot-kms status --report" on each of the others, and give all reports',
  });
}

/** What makes a report worthless for this manifest, whatever it says of keys. */
function doubtOf(report: ReplicaReport, manifest: StoredManifest, now: Date): string | undefined {
  const doubt = timeDoubtOf(report, now);
  if (doubt !== undefined) return doubt;
  if (report.contextId !== manifest.contextId) return `uses another keyset, ${report.contextId}`;
  if (report.hash === manifest.hash) return undefined;
  return `uses generation ${report.generation} of the keyset, and the store has generation ${manifest.generation}`;
}

/** Why a report says nothing of the present: it is old, or of the future. `undefined` if it does. */
export function timeDoubtOf({ time }: ReplicaReport, now: Date): string | undefined {
  const ageMs = now.getTime() - Date.parse(time);
  if (ageMs > MAX_AGE_MS) return `has reported ${Math.round(ageMs / 60_000)} min ago; a report is valid for 10 min`;
  if (ageMs < -MAX_SKEW_MS) return 'has a clock that is ahead: its report is of the future';
  return undefined;
}
