import { KmsError, MAX_SKEW_MS } from '@teapot-kms/core';
import type { Manifest } from '@teapot-kms/core';
import { prefixesOf } from '../inspect/resource.ts';
import type { ScanReport } from '../inspect/scan-report.ts';

/**
 * How long in ms a kube-apiserver may write with its old seed after it has seen another key id: `kmsv2PluginWriteDEKSourceMaxTTL`
 * (k8s.io/apiserver encryptionconfig/config.go).
 */
export const OLD_SEED_MS = 3 * 60_000;

interface Scan {
  /** The name of its file. */
  readonly where: string;
  readonly report: ScanReport;
  /** It began after no kube-apiserver could use an older seed, as this process has seen itself. Then no clock is compared. */
  readonly ordered?: boolean;
}

export interface ScanEvidence {
  /** All clusters that use the keyset must be among them. */
  readonly scans: readonly Scan[];
  /** What an EncryptionConfiguration names. `undefined`: not known. */
  readonly resources?: readonly string[] | undefined;
  /** etcd's ids of all clusters that use the keyset. `undefined`: not known. */
  readonly clusterIds?: readonly string[] | undefined;
  readonly now: Date;
}

interface Problem {
  /** What changes it: a new scan, a rewrite of the data, or only an operator. */
  readonly needs: 'scan' | 'rewrite' | 'operator';
  readonly text: string;
  readonly remedy: string;
}

/**
 * Checks that scans show that no object needs a key, so that it can be retired (design D14). It says nothing of a key that cannot be retired: the
 * change itself has a better error.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE`, which names everything that is missing
 */
export function checkUnneeded(manifest: Manifest, keyId: string, evidence: ScanEvidence): void {
  const entry = manifest.keys.find(({ id }) => id === keyId);
  if (!entry || entry.state === 'retired' || keyId === manifest.primary) return;
  const problems = unneededProblems(manifest, keyId, evidence);
  if (problems.length === 0) return;
  const remedies = [...new Set(problems.map(({ remedy }) => remedy))];
  throw new KmsError('ERR_KMS_KEYSET_RULE', problems.map(({ text }) => text).join('\n'), {
    remedy: remedies.join('; '),
  });
}

/** What keeps scans from being evidence: nothing, if no object needs the key. */
export function unneededProblems(manifest: Manifest, keyId: string, evidence: ScanEvidence): readonly Problem[] {
  const single = evidence.scans.flatMap(({ where, report, ordered = false }) => {
    const doubts = ordered ? [] : doubtsOf(report, manifest, evidence.now);
    const problems = [...doubts, ...needsOf(report, keyId)];
    return problems.map((problem) => ({ ...problem, text: `${where}: ${problem.text}` }));
  });
  const clusters = [...clustersOf(evidence).values()].flatMap((scans) => [
    ...usesKeyset(scans, manifest),
    ...coverage(scans, evidence.resources),
  ]);
  return [...single, ...clusters, ...missingClusters(evidence)];
}

/** What makes a report worthless, whatever it has counted. */
function doubtsOf({ source, startedAt }: ScanReport, manifest: Manifest, now: Date): Problem[] {
  const started = Date.parse(startedAt);
  const again = 'scan again: teapot-kms scan --report FILE';
  if (source.type === 'snapshot') {
    return [{ needs: 'scan', text: 'the scan is one of a snapshot, which shows the past', remedy: 'scan etcd itself' }];
  }
  if (started > now.getTime() + MAX_SKEW_MS) {
    return [
      { needs: 'scan', text: `the scan began at ${startedAt}, in the future`, remedy: `set the clocks, and ${again}` },
    ];
  }
  const earliest = earliestScan(manifest);
  if (started >= earliest.getTime()) return [];
  const primary = manifest.keys.find(({ id }) => id === manifest.primary)!;
  const text =
    `the scan began at ${startedAt}, and key ${primary.id} is the primary since ${primary.since}: ` +
    'kube-apiservers may have written with an older key after it';
  return [{ needs: 'scan', text, remedy: `rewrite all data, and scan after ${earliest.toISOString()}` }];
}

/**
 * The first time at which a scan may begin. Since its promotion only the primary seals; kube-apiserver may use an older seed for a while, and
 * the clocks of the hosts that promote and scan may differ.
 */
export function earliestScan({ keys, primary }: Manifest): Date {
  return new Date(Date.parse(keys.find(({ id }) => id === primary)!.since) + OLD_SEED_MS + MAX_SKEW_MS);
}

/** Objects that need the key, or of which nobody can say which key they need. */
function needsOf({ rows }: ScanReport, keyId: string): Problem[] {
  return rows.flatMap((row): Problem[] => {
    const objects = `${row.objects} ${row.resource}, the first is ${row.example}`;
    if (row.keyId === keyId) {
      return [
        {
          needs: 'rewrite',
          text: `key ${keyId} is needed by ${objects}`,
          remedy: 'rewrite these resources, and scan again',
        },
      ];
    }
    if (row.problem === undefined) return [];
    const text = `no plugin can decrypt ${objects}, so nobody knows which key they need: ${row.problem}`;
    return [
      {
        needs: 'operator',
        text,
        remedy: 'repair or delete these objects (teapot-kms inspect --etcd KEY), and scan again',
      },
    ];
  });
}

/** The scans by cluster. Two clusters may share one etcd under two prefixes. */
function clustersOf({ scans }: ScanEvidence): Map<string, ScanReport[]> {
  const clusters = new Map<string, ScanReport[]>();
  for (const { report } of scans) {
    if (report.source.type !== 'etcd') continue;
    const name = clusterName(report);
    clusters.set(name, [...(clusters.get(name) ?? []), report]);
  }
  return clusters;
}

const clusterName = ({ source, root }: ScanReport): string =>
  `cluster ${source.type === 'etcd' ? source.clusterId : '-'} below ${root}`;

/** Key ids are random: a cluster that has objects of the primary is one of this keyset. */
function usesKeyset(scans: readonly ScanReport[], { primary }: Manifest): Problem[] {
  if (scans.some(({ rows }) => rows.some(({ keyId }) => keyId === primary))) return [];
  const objects = scans.reduce((sum, report) => sum + report.objects, 0);
  const text = `${clusterName(scans[0]!)}: none of ${objects} objects is encrypted with the primary, key ${primary}`;
  const remedy =
    'check that the scan is of the cluster that uses this keyset, with its --etcd-prefix. If it is, rewrite the data; if it has none, create a Secret; then scan again';
  return [{ needs: 'operator', text, remedy }];
}

/** Whether scans together have read everything that may be encrypted. */
function coverage(scans: readonly ScanReport[], resources: readonly string[] | undefined): Problem[] {
  if (resources === undefined) return [];
  const { root } = scans[0]!;
  const isRead = (prefix: string): boolean => scans.some((scan) => prefix.startsWith(scan.prefix));
  const missing = resources.flatMap((resource) => {
    const unread = prefixesOf(resource, root).filter((prefix) => !isRead(prefix));
    return unread.length === 0 ? [] : [`${resource} (${unread.join(', ')})`];
  });
  if (missing.length === 0) return [];
  const text = `${clusterName(scans[0]!)}: the EncryptionConfiguration names resources that were not scanned: ${missing.join(', ')}`;
  return [{ needs: 'scan', text, remedy: 'scan again without --only' }];
}

function missingClusters({ scans, clusterIds = [] }: ScanEvidence): Problem[] {
  const scanned = new Set(scans.map(({ report }) => (report.source.type === 'etcd' ? report.source.clusterId : '')));
  return clusterIds
    .filter((id) => !scanned.has(id))
    .map((id): Problem => ({
      needs: 'scan',
      text: `there is no scan of cluster ${id}`,
      remedy: 'scan the etcd of each cluster',
    }));
}

/** What scans have read, a line for each cluster: an operator must see that no cluster and no resource is missing. */
export function describeScans(evidence: ScanEvidence): string {
  return [...clustersOf(evidence).values()]
    .map((scans) => {
      const rows = scans.flatMap((scan) => scan.rows);
      const encrypted = [...new Set(rows.flatMap((row) => (row.provider === 'identity' ? [] : [row.resource])))];
      const prefixes = [...new Set(scans.map(({ prefix }) => prefix))];
      const objects = scans.reduce((sum, scan) => sum + scan.objects, 0);
      return `${clusterName(scans[0]!)}: scanned ${prefixes.join(', ')}: ${objects} objects; encrypted are ${encrypted.join(', ') || 'none'}`;
    })
    .join('\n');
}
