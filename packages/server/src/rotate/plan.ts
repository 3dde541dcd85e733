import { checkHeldByAll, checkReadByAll, KmsError } from '@teapot-kms/core';
import type { Evidence, KeyProof, Manifest, StoredManifest } from '@teapot-kms/core';
import { keyIdHash } from '../kms/key-id-hash.ts';
import { OLD_SEED_MS, unneededProblems } from './scan-evidence.ts';
import type { ScanEvidence } from './scan-evidence.ts';

/** The steps of a rotation, in this order. `blocked`: only an operator can go on. */
export type Step =
  | 'preflight'
  | 'generate'
  | 'wait-for-replicas'
  | 'promote'
  | 'wait-for-servers'
  | 'rewrite'
  | 'scan'
  | 'retire'
  | 'done'
  | 'blocked';

/** What one kube-apiserver says of its key: `apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds`. */
export interface ServerView {
  /** Its `apiserver_id_hash`, or another name. */
  readonly server: string;
  /** Of the last Status, as in {@link keyIdHash}. `undefined`: it runs, and nobody has seen its metrics. */
  readonly keyIdHash: string | undefined;
  /** How long in ms it has reported only this one. */
  readonly forMs: number;
  /** Since when, in s by its own clock. It changes if the server has used another key, or was started again, in between. */
  readonly since: number;
  /** Of the EncryptionConfiguration that it has loaded: `sha256:` and hexadecimal digits. Kubernetes before 1.34 does not say it. */
  readonly configHash?: string;
}

export interface PlanInput {
  readonly manifest: StoredManifest | undefined;
  /** Of the keys as the store has them, by key id. */
  readonly proofs: ReadonlyMap<string, KeyProof>;
  readonly replicas: Omit<Evidence, 'now'>;
  /** Every live kube-apiserver. */
  readonly servers: readonly ServerView[];
  /** `undefined`: nobody has scanned yet. */
  readonly scans: Omit<ScanEvidence, 'now'> | undefined;
  /** Age in ms of the primary at which a new rotation begins. */
  readonly renewAfterMs: number;
  /** How long in ms every kube-apiserver must have used only the primary. Default and least: what its old seed may be used for. */
  readonly settleMs?: number;
  readonly now: Date;
}

export interface Plan {
  readonly step: Step;
  /** The key that the step is about. */
  readonly keyId?: string;
  /** What the step does, or what it waits for: one thing a line. */
  readonly reason: string;
  /** What to do. */
  readonly remedy: string;
}

/** How a key is made in a token if there is a copy of the primary outside of it. */
export const GENERATE_WITH_COPY = 'keys generate --escrow-to AGE-KEY --escrow-file FILE';

/**
 * Returns the next step of a rotation. It has no memory: after an interruption, it is called again with what is there then.
 * @see docs/operators-guide.md, "Rotate the key"
 */
export function plan(input: PlanInput): Plan {
  const { manifest } = input;
  if (!manifest)
    return blocked('there is no keyset', 'mount its volume, or restore it; for a new cluster: keys generate');
  const pending = manifest.keys.filter(({ state }) => state === 'pending').map(({ id }) => id);
  if (pending.length > 1)
    return blocked(`keys ${pending.join(', ')} are pending`, 'retire those that you do not want: keys retire KEY');
  if (pending.length === 1) return toPromote(input, manifest, pending[0]!);
  const old = manifest.keys.filter(({ id, state }) => state === 'promoted' && id !== manifest.primary);
  if (old.length > 0)
    return toRetire(
      input,
      manifest,
      old.map(({ id }) => id),
    );
  return toGenerate(input, manifest);
}

/** When the next rotation begins. */
export const dueAt = (manifest: Manifest, renewAfterMs: number): Date =>
  new Date(Date.parse(primaryOf(manifest).since) + renewAfterMs);

function toGenerate(input: PlanInput, manifest: StoredManifest): Plan {
  const { id, since, imported } = primaryOf(manifest);
  const due = dueAt(manifest, input.renewAfterMs);
  if (input.now < due) {
    return {
      step: 'done',
      keyId: id,
      reason: `key ${id} is the primary since ${since}, and no older key is in use`,
      remedy: `nothing; the next rotation is due at ${due.toISOString()}`,
    };
  }
  const evidence = { ...input.replicas, now: input.now };
  const problem = problemOf(() => checkReadByAll(manifest, manifest.formatVersion, evidence));
  if (problem) return { step: 'preflight', ...problem };
  const reason = `key ${id} is the primary since ${since}, and every replica uses this keyset`;
  const command = imported ? GENERATE_WITH_COPY : 'keys generate';
  return { step: 'generate', reason, remedy: `${command}; then copy the keyset to the other nodes` };
}

function toPromote({ proofs, replicas, now }: PlanInput, manifest: StoredManifest, keyId: string): Plan {
  const proof = proofs.get(keyId);
  if (!proof) {
    return { ...blocked(`the key store does not show that it has key ${keyId}`, 'look with "doctor"'), keyId };
  }
  const problem = problemOf(() => checkHeldByAll(manifest, keyId, proof, { ...replicas, now }));
  if (problem) return { step: 'wait-for-replicas', keyId, ...problem };
  const remedy = `keys promote ${keyId}; then copy keyset.yaml to the other nodes`;
  return { step: 'promote', keyId, reason: `every replica holds key ${keyId}`, remedy };
}

function toRetire(input: PlanInput, manifest: StoredManifest, old: readonly string[]): Plan {
  const waiting = waitsForServers(input, manifest);
  if (waiting) return waiting;
  const { scans, now, settleMs = OLD_SEED_MS } = input;
  if (!scans) {
    return { step: 'scan', reason: 'nobody has looked which objects need an older key', remedy: 'scan --report FILE' };
  }
  // When the last kube-apiserver could no longer use an old seed: a scan that began before it has not seen all writes.
  const settled = now.getTime() - Math.min(...input.servers.map(({ forMs }) => forMs)) + settleMs;
  const early = scans.scans.filter(({ report, ordered }) => !ordered && Date.parse(report.startedAt) < settled);
  if (early.length > 0) {
    const reason = early
      .map(({ where }) => `${where}: a kube-apiserver could still write with an older key`)
      .join('\n');
    return { step: 'scan', reason, remedy: `scan again; a scan may begin at ${new Date(settled).toISOString()}` };
  }
  const problems = old.flatMap((keyId) => unneededProblems(manifest, keyId, { ...scans, now }));
  for (const [needs, step] of NEXT) {
    const found = problems.filter((problem) => problem.needs === needs);
    if (found.length > 0) return { step, reason: linesOf(found, 'text'), remedy: linesOf(found, 'remedy') };
  }
  const keyId = old[0]!;
  return { step: 'retire', keyId, reason: `no object needs key ${keyId}`, remedy: `keys retire ${keyId} --scan FILE` };
}

/** What a problem of a scan leads to: first a scan that can be trusted. */
const NEXT = [
  ['scan', 'scan'],
  ['rewrite', 'rewrite'],
  ['operator', 'blocked'],
] as const;

const linesOf = <Field extends string>(found: readonly Readonly<Record<Field, string>>[], field: Field): string =>
  [...new Set(found.map((one) => one[field]))].join('\n');

const WAIT_FOR_SERVERS =
  'wait; if it takes more than five minutes, look with "teapot-kms status" on the node of that kube-apiserver';
const LOOK_AT_EACH =
  'name the URL of each kube-apiserver with --apiserver, not only that of a load balancer; if one is gone for good, delete its Lease in kube-system';

/** Every kube-apiserver must have announced only the primary for as long as it may use an older seed. */
export function waitsForServers(
  { servers, settleMs = OLD_SEED_MS }: Pick<PlanInput, 'servers' | 'settleMs'>,
  { primary }: Pick<Manifest, 'primary'>,
): (Plan & { readonly step: 'wait-for-servers' }) | undefined {
  const wanted = keyIdHash(primary);
  const late = servers.flatMap(({ server, keyIdHash: hash, forMs }) => {
    if (hash === undefined) return [`kube-apiserver ${server} runs, and nothing shows which key it uses`];
    if (hash !== wanted) return [`kube-apiserver ${server} uses key ${hash}, and not ${wanted}`];
    if (forMs >= settleMs) return [];
    const [since, least] = [forMs, settleMs].map((ms) => Math.floor(ms / 1000));
    return [`kube-apiserver ${server} uses the primary since ${since} s, and must for ${least} s`];
  });
  if (servers.length > 0 && late.length === 0) return undefined;
  return {
    step: 'wait-for-servers',
    keyId: primary,
    reason: late.join('\n') || 'no kube-apiserver has been looked at',
    remedy: servers.some((one) => one.keyIdHash === undefined) ? LOOK_AT_EACH : WAIT_FOR_SERVERS,
  };
}

const primaryOf = ({ keys, primary }: Manifest) => keys.find(({ id }) => id === primary)!;

const blocked = (reason: string, remedy: string): Plan => ({ step: 'blocked', reason, remedy });

function problemOf(check: () => void): Pick<Plan, 'reason' | 'remedy'> | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (!(error instanceof KmsError)) throw error;
    return { reason: error.message, remedy: error.remedy ?? '' };
  }
}
