import type { TallyRow } from '../inspect/tally.ts';

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
