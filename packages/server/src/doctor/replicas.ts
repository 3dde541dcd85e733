import { RESTORE_NEWEST, safeText, shellWord, timeDoubtOf } from '@teapot-kms/core';
import type { Finding, ReplicaReport, ReportProof, StoredManifest } from '@teapot-kms/core';
import type { InstanceConfig } from '../config/schema.ts';
import { directoryOf, fetchFrom, importOf } from './concrete.ts';
import type { ReportProofs } from './key-store.ts';

const MAX_HOST = 253;
/** A report says what it likes: this is no option of scp. */
const ADDRESS = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const NONE: ReportProof = { proven: [], refuted: [], unknown: [] };

/** A finding without what it is about. */
type Said = Pick<Finding, 'level' | 'text' | 'remedy'>;

/**
 * Whether other replicas have the keyset that is here. A report is believed as far as the keys in the store verify it: what they cannot
 * verify is said.
 * @param reports - of "teapot-kms status --report"
 * @param proofs - what the keys in the store show of each
 */
export function compareReplicas(
  { name, keys }: InstanceConfig,
  stored: StoredManifest | undefined,
  reports: readonly ReplicaReport[],
  { proofs, now }: { readonly proofs: ReportProofs; readonly now: Date },
): Finding[] {
  if (!stored) return [];
  return reports
    .filter(({ contextId }) => contextId === stored.contextId)
    .flatMap((report) => {
      const proof = proofs.get(report) ?? { ...NONE, unknown: report.keys.map(({ id }) => id) };
      const host = hostOf(report);
      const said = isChanged(proof)
        ? [changed(host, proof)]
        : [...doubts(report, proof, now), compare(report, proof, { stored, keys, host })];
      return said.map((one) => ({ about: `${name}, replica on ${host}`, ...one }));
    });
}

/** A report of a keyset that no instance here has. Nothing here can verify it. */
export function foreignReport(report: ReplicaReport): Finding {
  const host = hostOf(report);
  const text = `has keyset ${report.contextId}, which no instance here has, so that nothing in its report is verified`;
  const remedy = `run doctor on ${host}. If all is well there, keep both keysets: "Two nodes with two keysets" in docs/operators-guide.md`;
  return { level: 'problem', about: `replica on ${host}`, text, remedy };
}

const hostOf = ({ host }: ReplicaReport): string => safeText(host, MAX_HOST);

/** A MAC is over the whole report: where one is right, nothing was changed. */
const isChanged = ({ proven, refuted }: ReportProof): boolean => proven.length === 0 && refuted.length > 0;

function changed(host: string, { refuted }: ReportProof): Said {
  const text = `its report is not believed: it was changed after it was made, or the replica has other keys under the same ids (the MAC of ${refuted.join(', ')} is wrong)`;
  const remedy = `make a new report on ${host} (teapot-kms status --report --config FILE --instance NAME); if it is not believed either, run doctor on ${host}`;
  return { level: 'problem', text, remedy };
}

function doubts(report: ReplicaReport, { proven, refuted, unknown }: ReportProof, now: Date): Said[] {
  const said: Said[] = [];
  // A report of the future is a matter of clocks.
  const old = Date.parse(report.time) > now.getTime() ? undefined : timeDoubtOf(report, now);
  if (old !== undefined) {
    const remedy = `make a new report on ${hostOf(report)} (teapot-kms status --report --config FILE --instance NAME)`;
    said.push({ level: 'hint', text: old, remedy });
  }
  if (refuted.length > 0) {
    const remedy = `run doctor on ${hostOf(report)}: it says why, and what to do`;
    said.push({ level: 'problem', text: `has another key under the id ${refuted.join(', ')}`, remedy });
  }
  if (proven.length === 0) {
    const why = unknown.length > 0 ? 'none of its keys can be loaded here' : 'it lists no key';
    said.push({
      level: 'hint',
      text: `nothing in its report is verified, because ${why}: somebody may have changed it`,
    });
  } else if (unknown.length > 0) {
    const text = `its report is verified, but not that it holds ${unknown.join(', ')}: not loaded here`;
    said.push({ level: 'hint', text });
  }
  return said;
}

interface Here {
  readonly stored: StoredManifest;
  readonly keys: InstanceConfig['keys'];
  readonly host: string;
}

function compare({ generation, hash, keys: reported }: ReplicaReport, { proven }: ReportProof, here: Here): Said {
  const { stored, keys, host } = here;
  const differs = (text: string, remedy: string): Said => ({ level: 'problem', text, remedy });
  const held = new Set(reported.map(({ id }) => id));
  const lacking = stored.keys.filter(({ id, state }) => state !== 'retired' && !held.has(id)).map(({ id }) => id);
  if (hash === stored.hash) {
    if (lacking.length > 0) {
      return differs(`has not loaded ${lacking.join(', ')}`, `run doctor on ${host}: it says why, and what to do`);
    }
    if (proven.length === 0) return { level: 'hint', text: 'says that it has the same keyset' };
    return { level: 'ok', text: `has the same keyset, and proves that it holds ${proven.join(', ')}` };
  }
  const text = `uses generation ${generation} of the keyset, and the key store here has generation ${stored.generation}`;
  const directory = directoryOf(keys);
  if (directory === undefined) {
    return differs(text, `wait for the next probe of the plugin on ${host}, and make a new report there`);
  }
  if (generation === stored.generation) return differs(text, RESTORE_NEWEST);
  const newer = generation > stored.generation;
  const there = ADDRESS.test(host) ? host : 'HOST';
  // Beside the older one: it may have keys that the newer one lacks.
  const copy = `${directory}.generation-${Math.max(generation, stored.generation)}`;
  const command = newer
    ? fetchFrom(there, directory, copy)
    : `scp -rp ${shellWord(directory)} ${shellWord(`${there}:${copy}`)}, then on ${there}: ${importOf(copy)}`;
  return differs(text, `copy the newer keyset: ${command}, and make new reports`);
}
