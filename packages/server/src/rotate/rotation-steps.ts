import { checkHeldByAll, generateKey, KmsError, promoteKey, retireKey } from '@teapot-kms/core';
import type { Clock, Evidence, KeyProof, KeysetAdmin, StoredManifest } from '@teapot-kms/core';
import type { ScanReport } from '../inspect/scan-report.ts';
import { servedResources } from '../kubernetes/api-resources.ts';
import type { Api } from '../kubernetes/answers.ts';
import type { RotationSteps } from './perform.ts';
import { dueAt, GENERATE_WITH_COPY } from './plan.ts';
import type { PlanInput, ServerView } from './plan.ts';
import { rewriteResource } from './rewrite.ts';
import type { RewriteOptions } from './rewrite.ts';
import { checkUnneeded, describeScans } from './scan-evidence.ts';
import type { ScanEvidence } from './scan-evidence.ts';

export interface RotationTools {
  readonly admin: KeysetAdmin;
  readonly api: Api;
  readonly clock: Clock;
  /** What proves the keys as the store has them. */
  proofs(): Promise<ReadonlyMap<string, KeyProof>>;
  /** Of every replica that can be asked. */
  reports(): Promise<Omit<Evidence, 'now'>>;
  servers(): Promise<readonly ServerView[]>;
  distribute(): Promise<void>;
  readonly scan: () => Promise<ScanReport>;
  /** What the EncryptionConfiguration names: a scan must cover it. */
  readonly resources: readonly string[] | undefined;
  /** For one resource. `end` ends its progress. */
  readonly rewriting: () => RewriteOptions & { readonly end: () => void };
  readonly renewAfterMs: number;
  readonly settleMs: number;
  /** Receives what was done, and what went wrong on the way. */
  readonly tell: (text: string) => void;
}

/** Shown failures of a rewrite. */
const SHOWN_FAILURES = 5;

/** The steps of a rotation on a real keyset and cluster. */
export function rotationSteps(tools: RotationTools): RotationSteps {
  const { admin, clock, tell } = tools;
  const now = (): Date => new Date(clock.wall());
  const evidenceOf = (report: ScanReport): Omit<ScanEvidence, 'now'> => {
    return { scans: [{ where: 'the scan', report, ordered: true }], resources: tools.resources };
  };
  return {
    look: (scan, asksServers) => look(tools, scan && evidenceOf(scan), asksServers),
    distribute: () => tools.distribute(),
    async generate(primary) {
      const { keyId } = await generateKey(admin, { clock, check: (manifest) => checkSuccessor(manifest, primary) });
      tell(`generated key ${keyId}`);
    },
    async promote(keyId) {
      const [proof, replicas] = [(await tools.proofs()).get(keyId), await tools.reports()];
      if (!proof) throw new KmsError('ERR_KMS_KEYSET_RULE', `the key store does not show that it has key ${keyId}`);
      const check = (manifest: StoredManifest) => checkHeldByAll(manifest, keyId, proof, { ...replicas, now: now() });
      await promoteKey(admin, keyId, { clock, check });
      tell(`key ${keyId} is the primary`);
    },
    async scan() {
      const report = await tools.scan();
      tell(describeScans({ ...evidenceOf(report), now: now() }));
      return report;
    },
    async rewrite(resources) {
      for (const resource of resources) await rewriteAll(tools, resource);
    },
    async retire(keyId, scan) {
      const check = (manifest: StoredManifest) => checkUnneeded(manifest, keyId, { ...evidenceOf(scan), now: now() });
      await retireKey(admin, keyId, { clock, check });
      tell(`key ${keyId} is retired; "keys restore" undoes that, and a week later "keys destroy" ends it`);
    },
  };
}

/** Asks only for what the next step needs: to fetch reports and metrics takes seconds. */
async function look(
  tools: RotationTools,
  scans: Omit<ScanEvidence, 'now'> | undefined,
  asksServers: boolean,
): Promise<PlanInput> {
  const { admin, clock, renewAfterMs, settleMs } = tools;
  const now = (): Date => new Date(clock.wall());
  const manifest = (await admin.readManifest())?.manifest;
  const keys = manifest?.keys ?? [];
  const pending = keys.some(({ state }) => state === 'pending');
  const old = keys.some(({ id, state }) => state === 'promoted' && id !== manifest?.primary);
  const due = manifest !== undefined && !old && now() >= dueAt(manifest, renewAfterMs);
  return {
    manifest,
    proofs: pending ? await tools.proofs() : new Map<string, KeyProof>(),
    replicas: pending || due ? await tools.reports() : { reports: [], replicas: 1 },
    servers: asksServers && old && !pending ? await tools.servers() : [],
    scans,
    renewAfterMs,
    settleMs,
    now: now(),
  };
}

/** Writes every object of a resource again. It says what came of it. */
export async function rewriteAll(
  { api, tell, rewriting }: Pick<RotationTools, 'api' | 'tell' | 'rewriting'>,
  resource: string,
): Promise<void> {
  const served = await servedResources(api, resource);
  if (served.length === 0) {
    tell(`${resource}: the API does not serve it, so that nothing can rewrite these objects; delete them from etcd`);
  }
  for (const one of served) {
    const { end, ...options } = rewriting();
    const { written, unchanged, gone, failures } = await rewriteResource(api, one, options).finally(end);
    tell(`${resource}: ${written} written, ${unchanged} needed no write, ${gone} are gone, ${failures.length} failed`);
    for (const failure of failures.slice(0, SHOWN_FAILURES)) tell(failure);
  }
}

/** Two runs may have seen the same old primary: the keyset gets one new key for it. */
function checkSuccessor(manifest: StoredManifest | undefined, primary: string): void {
  const keys = manifest?.keys ?? [];
  if (keys.find(({ id }) => id === primary)?.imported) throw needsCopy();
  if (manifest?.primary === primary && !keys.some(({ state }) => state === 'pending')) return;
  const remedy = 'end all but one of the rotations of this keyset, and run this command again';
  throw new KmsError('ERR_KMS_KEYSET_CONFLICT', 'another rotation has begun meanwhile', { remedy });
}

const needsCopy = (): KmsError =>
  new KmsError(
    'ERR_KMS_KEYSET_RULE',
    'there is a copy of the primary outside its token, and "rotate" makes no copies',
    {
      remedy: `teapot-kms ${GENERATE_WITH_COPY}; then run this command again`,
    },
  );
