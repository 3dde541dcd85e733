import { retireKey, safeLines, systemClock } from '@teapot-kms/core';
import type { Command } from 'commander';
import { readScanReport } from '../inspect/parse-scan-report.ts';
import { readEncryptedResources } from '../rotate/encryption-configuration.ts';
import { checkUnneeded, describeScans } from '../rotate/scan-evidence.ts';
import type { ScanEvidence } from '../rotate/scan-evidence.ts';
import { UsageError } from './exit-codes.ts';
import { withAdmin } from './key-store.ts';
import { report } from './keys-output.ts';
import type { KeysOptions } from './keys-output.ts';
import { printError } from './output.ts';

export interface ScanFiles {
  readonly scan?: readonly string[];
  readonly encryptionConfig?: string;
  readonly clusterId?: readonly string[];
}

type RetireOptions = KeysOptions & ScanFiles & { readonly unverified?: boolean };

/** Characters of what is printed of a scan. */
const MAX_DESCRIPTION = 8_000;

/** @param change - makes a command that changes a keyset */
export function registerRetire(change: (name: string, description: string) => Command): void {
  withScanOptions(
    change('retire <key-id>', 'End the use of a former primary or of a pending key, and keep its key material'),
  )
    .option('--unverified', 'go on without a scan: data that still needs the key can no longer be decrypted')
    .addHelpText(
      'after',
      `
A scan is evidence if it is one of etcd itself, began after the last promotion (four minutes after it, as kube-apiserver may use the old
seed for three, and clocks differ), and found no object that needs the key and one at least that is encrypted with the primary.
Every kube-apiserver must use the new key before the data is rewritten and scanned. This command cannot see that.`,
    )
    .action(async (keyId: string, options: RetireOptions) => {
      const evidence = evidenceOf(keyId, options);
      const made = await withAdmin(options, (admin) =>
        retireKey(admin, keyId, {
          dryRun: options.dryRun ?? false,
          unverified: options.unverified ?? false,
          ...(evidence && { check: (manifest) => checkUnneeded(manifest, keyId, evidence) }),
        }),
      );
      report(options, made, `key ${keyId} is retired; "keys restore" undoes that`);
    });
}

/** Adds the ways to give scans of etcd. */
export function withScanOptions(command: Command): Command {
  return command
    .option('--scan <file...>', 'what "teapot-kms scan --report" wrote: of every cluster that uses this keyset')
    .option(
      '--encryption-config <file>',
      "kube-apiserver's EncryptionConfiguration: the scans must cover all resources that it names",
    )
    .option('--cluster-id <id...>', 'ids of the etcd clusters that use this keyset: there must be a scan of each');
}

/** Reads the scans. @throws {@link UsageError} for what belongs to a scan, without one */
export function scansOf({ scan, encryptionConfig, clusterId }: ScanFiles): ScanEvidence | undefined {
  if (scan === undefined) {
    if (encryptionConfig === undefined && clusterId === undefined) return undefined;
    throw new UsageError('--encryption-config and --cluster-id say what a scan must cover: pass --scan FILE too');
  }
  return {
    scans: scan.map((where) => ({ where, report: readScanReport(where) })),
    resources: encryptionConfig === undefined ? undefined : readEncryptedResources(encryptionConfig),
    clusterIds: clusterId,
    now: new Date(systemClock.wall()),
  };
}

function evidenceOf(keyId: string, options: RetireOptions): ScanEvidence | undefined {
  if (options.unverified) {
    if (options.scan !== undefined) throw new UsageError('--scan and --unverified exclude each other');
    printError('WARNING: nothing shows that no object needs the key (--unverified)');
    return undefined;
  }
  const evidence = scansOf(options);
  if (!evidence) {
    throw new UsageError(
      `nothing shows that no object in etcd needs key ${keyId}: rewrite all data, then pass --scan FILE with what "teapot-kms scan --report FILE" wrote, or --unverified to go on without`,
    );
  }
  printError(safeLines(describeScans(evidence), MAX_DESCRIPTION));
  if (evidence.resources === undefined) {
    printError('pass --encryption-config FILE to check that this is everything that kube-apiserver encrypts');
  }
  return evidence;
}
