import type { Tally, TallyRow } from './tally.ts';

/** Where the objects were read. */
export type ScanSource =
  | {
      readonly type: 'etcd';
      /** Hexadecimal, as etcdctl shows them. */
      readonly clusterId: string;
      readonly memberIds: readonly string[];
    }
  | {
      readonly type: 'snapshot';
      readonly file: string;
      readonly bytes: number;
      readonly sha256: string;
      /** Whether etcdctl's checksum was in the file and right. */
      readonly verified: boolean;
    };

/** What a whole scan has found: evidence of which keys the objects need. There is no report of a scan that did not reach its end. */
export interface ScanReport {
  readonly kind: 'teapot-kms-scan';
  /** Of this format. A reader refuses others. */
  readonly version: 1;
  readonly source: ScanSource;
  /** kube-apiserver's `--etcd-prefix` with a slash at its end. */
  readonly root: string;
  /** Only keys that begin with this were read. */
  readonly prefix: string;
  /** RFC 3339, by the clock of this host. */
  readonly startedAt: string;
  readonly finishedAt: string;
  /** etcd's revisions at which the first and the last page were read. They are the same unless etcd compacted the first one away. */
  readonly firstRevision: number;
  readonly lastRevision: number;
  readonly objects: number;
  readonly bytes: number;
  readonly rows: readonly TallyRow[];
}

export function makeScanReport(
  about: Pick<ScanReport, 'source' | 'root' | 'prefix' | 'startedAt' | 'finishedAt' | 'firstRevision' | 'lastRevision'>,
  tally: Tally,
): ScanReport {
  const { objects, bytes } = tally;
  return { kind: 'teapot-kms-scan', version: 1, ...about, objects, bytes, rows: tally.rows() };
}
