import type { Manifest } from '@teapot-kms/core';
import type { ScanReport } from '../inspect/scan-report.ts';
import type { TallyRow } from '../inspect/tally.ts';
import type { Plan } from './plan.ts';

/** What a scan has found elsewhere than where it is to be. */
export interface Remainder {
  readonly objects: number;
  /** As the scan names them, each once. */
  readonly resources: readonly string[];
  /** One line for each resource and key. */
  readonly found: string;
  /** Whether some of it was written by KMS v1. */
  readonly v1: boolean;
}

/** What is under keys that are about to be retired. */
export function oldRows({ rows }: ScanReport, { keys, primary }: Manifest): readonly TallyRow[] {
  const old = new Set(keys.filter(({ id, state }) => state === 'promoted' && id !== primary).map(({ id }) => id));
  return rows.filter(({ keyId }) => keyId !== undefined && old.has(keyId));
}

export function remainderOf(left: readonly TallyRow[]): Remainder {
  const lines = left.map(({ keyId, provider, name, objects, resource, example }) => {
    const place = keyId === undefined ? [provider, name].filter(Boolean).join(' ') : `key ${keyId}`;
    return `${place}: ${objects} ${resource}, ${example}`;
  });
  return {
    objects: left.reduce((sum, { objects }) => sum + objects, 0),
    resources: [...new Set(left.map(({ resource }) => resource))],
    found: lines.join('\n'),
    v1: left.some(({ provider }) => provider === 'kms:v1'),
  };
}

const ALLOW =
  'look at the errors of the rewrite above, and at one of the objects with "teapot-kms inspect --etcd KEY"; delete it, or allow its update';
/** To kube-apiserver, data of KMS v1 is stale only if another provider comes first. */
const SECOND_PROVIDER =
  'KMS v1 has encrypted some of them: add a second KMS provider for this plugin before the first one in the EncryptionConfiguration, under another name';

/**
 * Says that a rewrite changes nothing.
 * @param before - objects that the scan before the last rewrite found; `undefined` if there was none
 */
export function stuck(
  { objects, found, v1 }: Remainder,
  before: number | undefined,
): (Plan & { readonly step: 'blocked' }) | undefined {
  if (before === undefined || objects < before) return undefined;
  const reason = `a rewrite has moved none of these objects:\n${found}`;
  return { step: 'blocked', reason, remedy: v1 ? SECOND_PROVIDER : ALLOW };
}
