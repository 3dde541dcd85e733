import type { Clock } from '@teapot-kms/core';
import type { EtcdClient } from '../etcd/client.ts';
import { pagesOf } from '../etcd/pages.ts';
import type { ScanProgress } from '../inspect/scan.ts';
import { Tally } from '../inspect/tally.ts';
import type { TallyRow } from '../inspect/tally.ts';

const PACE = { pageSize: 500, rate: 5_000 };

export interface CountOptions {
  /** kube-apiserver's `--etcd-prefix` with a slash at its end. */
  readonly root: string;
  readonly provider: string;
  /** The count ends when it has so many. */
  readonly most: number;
  readonly clock: Clock;
  readonly onProgress: (progress: ScanProgress) => void;
}

/** Counts the objects in etcd that need a KMS v2 provider. @throws as {@link pagesOf} */
export async function countNeeding(
  client: Pick<EtcdClient, 'range'>,
  { root, provider, most, clock, onProgress }: CountOptions,
): Promise<number> {
  let [needing, objects] = [0, 0];
  for await (const page of pagesOf(client, { prefix: root, clock, ...PACE })) {
    const tally = new Tally(root);
    for (const object of page.objects) tally.add(object);
    needing += objectsNeeding(tally.rows(), provider);
    if (needing >= most) break;
    const total = objects + page.remaining;
    objects += page.objects.length;
    onProgress({ objects, fraction: total === 0 ? 1 : Math.min(1, objects / total) });
  }
  return needing;
}

/** Counts the objects of a scan that need a KMS v2 provider. Nobody knows who wrote a malformed one, so that it counts too. */
export function objectsNeeding(
  rows: readonly Pick<TallyRow, 'provider' | 'name' | 'objects'>[],
  provider: string,
): number {
  const needs = rows.filter(
    (row) => row.provider === 'malformed' || (row.provider === 'kms:v2' && row.name === provider),
  );
  return needs.reduce((sum, { objects }) => sum + objects, 0);
}
