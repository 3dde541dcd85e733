import { systemClock } from '@teapot-kms/core';
import { Option } from 'commander';
import type { Command } from 'commander';
import { readInputFile } from '../input-file.ts';
import { perform, PHASES } from '../rotate/perform.ts';
import type { Outcome, Phase } from '../rotate/perform.ts';
import { plan } from '../rotate/plan.ts';
import { serverView } from '../rotate/server-view.ts';
import { withClusterOptions } from './cluster-tools.ts';
import { durationOption } from './duration-option.ts';
import { KUBEADM_FILES, withEtcdOptions } from './etcd-options.ts';
import { evidenceOf, proofsOf, withReportOptions } from './evidence.ts';
import { ExitCode, UsageError } from './exit-codes.ts';
import { withKeyStoreOptions, withStore } from './key-store.ts';
import { scansOf, withScanOptions } from './keys-retire.ts';
import type { ScanFiles } from './keys-retire.ts';
import { outputOption, print } from './output.ts';
import type { OutputFormat } from './output.ts';
import type { RotateTools } from './rotate-tools.ts';
import { isWaiting, POLL_MS, sayer, settleOption, textOf, waitOption } from './steps-output.ts';

type RotateOptions = RotateTools &
  ScanFiles & {
    readonly dryRun?: boolean;
    readonly serverMetrics?: readonly string[];
    readonly onlyThrough: Phase;
    readonly wait: number;
    readonly output: OutputFormat;
  };

/** Kubernetes recommends a rotation every 90 days. */
const OLDER_THAN_MS = 90 * 24 * 3_600_000;
/** Longest metrics of a kube-apiserver that are read, in bytes. Those of a large cluster take 20 MB. */
const MAX_METRICS_BYTES = 128 * 1024 * 1024;

const HELP = `
Steps: preflight, generate, wait-for-replicas, promote, wait-for-servers, scan, rewrite, scan, retire. Run it again after it was
interrupted: the keyset and the cluster say what is left to do. --dry-run prints the next step and changes nothing.
Exit codes:
  0  the rotation is done, or not due, or the phase of --only-through is done; with --dry-run: the step can be taken
  1  a step failed: see the message, and run the command again
  3  it waited as long as it may, or only an operator can go on; with --dry-run: the step waits. It prints for what, and what to do
On a control-plane node of kubeadm, with a keyset that three plugins read from a shared store:
  teapot-kms rotate --config /etc/teapot-kms/config.yaml --replicas 3 --host node-1 node-2 node-3 \\
    --fetch "ssh {host} teapot-kms status --report --config /etc/teapot-kms/config.yaml --nonce {nonce}" \\
    --kubeconfig /etc/kubernetes/admin.conf --apiserver https://node-1:6443 https://node-2:6443 https://node-3:6443 \\
    ${KUBEADM_FILES}`;

/** @param leastSettleMs - the least that --settle may be */
export function registerRotate(program: Command, leastSettleMs: number): void {
  const command = program
    .command('rotate')
    .description('Rotate the key: a new key, promoted on evidence, all data rewritten, the old key retired');
  withEtcdOptions(withClusterOptions(withScanOptions(withReportOptions(withKeyStoreOptions(command)))))
    .option('--dry-run', 'print the next step, from reports, metrics and scans that are given, and stop')
    .addOption(new Option('--only-through <phase>', 'stop after this phase').choices(PHASES).default('retire'))
    .option('--distribute <command>', 'shell command that copies the keyset to the other nodes, after each change')
    .addOption(waitOption())
    .option('--provider <name>', "the KMS provider's name in the EncryptionConfiguration. Default: teapot-INSTANCE")
    .option('--server-metrics <file...>', 'with --dry-run: the metrics of every kube-apiserver')
    .addOption(settleOption('how long each kube-apiserver must have used only the new key', leastSettleMs))
    .addOption(
      durationOption(
        '--older-than <duration>',
        'age of the primary at which a new rotation begins',
        OLDER_THAN_MS,
        '2160h, 90 days',
      ),
    )
    .addOption(outputOption())
    .addHelpText('after', HELP)
    .action(rotate);
}

async function rotate(options: RotateOptions): Promise<void> {
  if (options.replicas === undefined)
    throw new UsageError('expected --replicas NUMBER: how many plugins use this keyset');
  if (options.dryRun) return printNext(options);
  if (options.scan ?? options.clusterId ?? options.serverMetrics)
    throw new UsageError('--scan, --cluster-id and --server-metrics are for --dry-run: a rotation looks itself');
  const { onlyThrough: through, wait: waitMs } = options;
  // Memory that no other command needs.
  const { withSteps } = await import('./rotate-tools.ts');
  const about = { through, waitMs, pollMs: POLL_MS, clock: systemClock, say: sayer() };
  const { end, next } = await withStore(options, (opened) =>
    withSteps(options, opened, (steps) => perform(steps, about)),
  );
  print(options.output === 'json' ? JSON.stringify({ end, ...next }) : `${ENDS[end]}\n${textOf(next)}`);
  if (end === 'waited' || end === 'blocked') process.exitCode = ExitCode.UNHEALTHY;
}

const ENDS: Readonly<Record<Outcome['end'], string>> = {
  done: 'Nothing is left to do.',
  through: 'Done as far as --only-through says. The next step:',
  waited: 'This step has waited as long as it may (--wait). Run the command again when what it waits for is there.',
  blocked: 'Only you can go on. Then run the command again.',
};

async function printNext(options: RotateOptions): Promise<void> {
  const replicas = (await evidenceOf(options))!;
  const [scans, servers] = [scansOf(options), serversOf(options)];
  const next = await withStore(options, async ({ store, admin }) => {
    const manifest = (await admin.readManifest())?.manifest;
    const pending = manifest?.keys.some(({ state }) => state === 'pending') ?? false;
    const proofs = pending ? await proofsOf(store) : new Map<string, never>();
    const now = new Date(systemClock.wall());
    const { olderThan: renewAfterMs, settle: settleMs } = options;
    return plan({ manifest, proofs, replicas, servers, scans, renewAfterMs, settleMs, now });
  });
  print(options.output === 'json' ? JSON.stringify(next) : textOf(next));
  if (isWaiting(next.step)) process.exitCode = ExitCode.UNHEALTHY;
}

function serversOf({ serverMetrics = [], provider }: RotateOptions) {
  if (serverMetrics.length > 0 && provider === undefined)
    throw new UsageError('--server-metrics needs --provider NAME');
  return serverMetrics.map((file) =>
    serverView(readInputFile(file, MAX_METRICS_BYTES).toString('utf8'), provider, file),
  );
}
