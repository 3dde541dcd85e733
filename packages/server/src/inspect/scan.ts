import type { Clock } from '@teapot-kms/core';
import type { EtcdClient } from '../etcd/client.ts';
import { pagesOf } from '../etcd/pages.ts';
import type { EtcdSnapshot } from '../etcd/snapshot/etcd-snapshot.ts';
import { makeScanReport } from './scan-report.ts';
import type { ScanReport } from './scan-report.ts';
import { Tally } from './tally.ts';

/** How far a scan is. */
export interface ScanProgress {
  readonly objects: number;
  /** 0 to 1. */
  readonly fraction: number;
}

export interface ScanOptions {
  /** kube-apiserver's `--etcd-prefix` with a slash at its end. */
  readonly root: string;
  /** What is scanned: `root`, or something below it. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly onProgress: (progress: ScanProgress) => void;
}

/** Objects of a snapshot between two reports of progress. */
const STEP = 1_000;

/**
 * Counts the objects of a running etcd.
 * @param pageSize - most objects of a page
 * @param rate - most objects per second; `Infinity` without a limit
 * @throws {@link KmsError} `ERR_KMS_ETCD_UNAVAILABLE`, `ERR_KMS_LIMIT_EXCEEDED`
 */
export async function scanEtcd(
  client: Pick<EtcdClient, 'range'>,
  { root, prefix, clock, onProgress, pageSize, rate }: ScanOptions & { pageSize: number; rate: number },
): Promise<ScanReport> {
  const startedAt = now(clock);
  const tally = new Tally(root);
  const memberIds = new Set<string>();
  const seen = { clusterId: '', firstRevision: 0, lastRevision: 0 };
  for await (const page of pagesOf(client, { prefix, pageSize, rate, clock })) {
    seen.clusterId = page.clusterId;
    seen.firstRevision ||= page.revision;
    seen.lastRevision = page.revision;
    memberIds.add(page.memberId);
    for (const object of page.objects) tally.add(object);
    const total = tally.objects - page.objects.length + page.remaining;
    onProgress({ objects: tally.objects, fraction: total === 0 ? 1 : Math.min(1, tally.objects / total) });
  }
  const { clusterId, ...revisions } = seen;
  const source = { type: 'etcd', clusterId, memberIds: [...memberIds] } as const;
  return makeScanReport({ source, root, prefix, startedAt, finishedAt: now(clock), ...revisions }, tally);
}

/**
 * Counts the objects of a snapshot.
 * @throws {@link KmsError} `ERR_KMS_SNAPSHOT_INVALID`, `ERR_KMS_LIMIT_EXCEEDED`
 */
export function scanSnapshot(snapshot: EtcdSnapshot, { root, prefix, clock, onProgress }: ScanOptions): ScanReport {
  const startedAt = now(clock);
  const digest = snapshot.digest();
  const tally = new Tally(root);
  for (const object of snapshot.objects(prefix)) {
    tally.add(object);
    if (tally.objects % STEP === 0) onProgress({ objects: tally.objects, fraction: snapshot.progress });
  }
  const { path: file, bytes, revision } = snapshot;
  const source = { type: 'snapshot', file, bytes, ...digest } as const;
  const about = {
    source,
    root,
    prefix,
    startedAt,
    finishedAt: now(clock),
    firstRevision: revision,
    lastRevision: revision,
  };
  return makeScanReport(about, tally);
}

const now = (clock: Clock): string => new Date(clock.wall()).toISOString();
