import { systemClock } from '@teapot-kms/core';
import type { Command } from 'commander';
import { readInputFile } from '../input-file.ts';
import { plan } from '../rotate/plan.ts';
import type { Step } from '../rotate/plan.ts';
import { serverView } from '../rotate/server-view.ts';
import { durationOf } from './duration-option.ts';
import { evidenceOf, proofsOf, withReportOptions } from './evidence.ts';
import type { EvidenceOptions } from './evidence.ts';
import { ExitCode, UsageError } from './exit-codes.ts';
import { withKeyStoreOptions, withStore } from './key-store.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { scansOf, withScanOptions } from './keys-retire.ts';
import type { ScanFiles } from './keys-retire.ts';
import { outputOption, print } from './output.ts';
import type { OutputFormat } from './output.ts';

type RotateOptions = KeyStoreOptions &
  Omit<EvidenceOptions, 'unverified'> &
  ScanFiles & {
    readonly dryRun?: boolean;
    readonly serverMetrics?: readonly string[];
    readonly provider?: string;
    readonly olderThan: number;
    readonly output: OutputFormat;
  };

/** Kubernetes recommends a rotation every 90 days. */
const OLDER_THAN_MS = 90 * 24 * 3_600_000;
/** Longest metrics of a kube-apiserver that are read, in bytes. Those of a large cluster take 20 MB. */
const MAX_METRICS_BYTES = 128 * 1024 * 1024;
/** Steps at which there is nothing to do but to wait, or at which something is wrong. */
const WAITS: readonly Step[] = ['preflight', 'wait-for-replicas', 'wait-for-servers', 'blocked'];

export function registerRotate(program: Command): void {
  const command = program
    .command('rotate')
    .description('Print the next step of a rotation: from the keyset, reports of the replicas, metrics and scans');
  withScanOptions(withReportOptions(withKeyStoreOptions(command)))
    .option('--dry-run', 'required: this command changes nothing, and takes no step itself')
    .option('--server-metrics <file...>', 'the metrics of every kube-apiserver: kubectl get --raw /metrics')
    .option('--provider <name>', "the KMS provider's name in the EncryptionConfiguration, for --server-metrics")
    .option(
      '--older-than <duration>',
      'age of the primary at which a new rotation begins. Default: 2160h (90 days)',
      durationOf('--older-than'),
      OLDER_THAN_MS,
    )
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
Steps: preflight, generate, wait-for-replicas, promote, wait-for-servers, rewrite, scan, retire, done; or blocked.
Exit code 0: the printed step can be taken, or the rotation is done. Exit code 3: preflight, wait-for-replicas, wait-for-servers, blocked.
Take the step with "teapot-kms keys" or "scan", and run this command again.`,
    )
    .action(rotate);
}

async function rotate(options: RotateOptions): Promise<void> {
  if (!options.dryRun) throw new UsageError('pass --dry-run: this command prints the next step, and takes none itself');
  if (options.replicas === undefined)
    throw new UsageError('expected --replicas NUMBER: how many plugins use this keyset');
  const replicas = (await evidenceOf(options))!;
  const [scans, servers] = [scansOf(options), serversOf(options)];
  const next = await withStore(options, async ({ store, admin }) => {
    const manifest = (await admin.readManifest())?.manifest;
    const pending = manifest?.keys.some(({ state }) => state === 'pending') ?? false;
    const proofs = pending ? await proofsOf(store) : new Map<string, never>();
    const now = new Date(systemClock.wall());
    return plan({ manifest, proofs, replicas, servers, scans, renewAfterMs: options.olderThan, now });
  });
  const text = `step  ${next.step}\nwhy   ${indented(next.reason)}\nnext  ${indented(next.remedy)}`;
  print(options.output === 'json' ? JSON.stringify(next) : text);
  if (WAITS.includes(next.step)) process.exitCode = ExitCode.UNHEALTHY;
}

const indented = (lines: string): string => lines.replaceAll('\n', '\n      ');

function serversOf({ serverMetrics = [], provider }: RotateOptions) {
  if (serverMetrics.length > 0 && provider === undefined)
    throw new UsageError('--server-metrics needs --provider NAME');
  return serverMetrics.map((file) =>
    serverView(readInputFile(file, MAX_METRICS_BYTES).toString('utf8'), provider!, file),
  );
}
