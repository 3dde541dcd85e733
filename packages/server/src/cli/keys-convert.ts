import { convertKeyset } from '@teapot-kms/core';
import type { Command } from 'commander';
import { proofsOf, readableByReports, withEvidenceOptions } from './evidence.ts';
import type { EvidenceOptions } from './evidence.ts';
import { withStore } from './key-store.ts';
import { report } from './keys-output.ts';
import type { KeysOptions } from './keys-output.ts';

/** @param change - makes a command that changes a keyset */
export function registerConvert(change: (name: string, description: string) => Command): void {
  withEvidenceOptions(
    change('convert', 'Convert a keyset of version 1 to version 2, which knows its age and recognises its keys'),
    'a replica with an older plugin can no longer read the keyset',
  ).action(async (options: KeysOptions & EvidenceOptions) => {
    const made = await withStore(options, async ({ store, admin }) => {
      const proofs = await proofsOf(store);
      const check = await readableByReports(2, proofs, options);
      const { dryRun = false, unverified = false } = options;
      return convertKeyset(admin, proofs, { dryRun, unverified, ...(check && { check }) });
    });
    report(options, made, 'the keyset has version 2');
  });
}
