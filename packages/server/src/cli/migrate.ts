import { systemClock } from '@teapot-kms/core';
import { Option } from 'commander';
import type { Command } from 'commander';
import { TARGETS } from '../migrate/encryption-order.ts';
import { performMigration } from '../migrate/perform.ts';
import type { MigrationOutcome } from '../migrate/perform.ts';
import { withClusterOptions } from './cluster-tools.ts';
import { KUBEADM_FILES, withEtcdOptions } from './etcd-options.ts';
import { withReportOptions } from './evidence.ts';
import { ExitCode, UsageError } from './exit-codes.ts';
import type { MigrateTools } from './migrate-tools.ts';
import { outputOption, print } from './output.ts';
import type { OutputFormat } from './output.ts';
import { isWaiting, POLL_MS, sayer, settleOption, textOf, waitOption } from './steps-output.ts';

interface MigrateOptions extends MigrateTools {
  readonly dryRun?: boolean;
  readonly wait: number;
  readonly output: OutputFormat;
}

const HELP = `
To teapot: from plain text, aescbc, secretbox or another KMS plugin, and from the key stores in "decryptOnly" of the instance.
To identity: back to plain text. In both, every kube-apiserver can read what another one writes at any time:
  1. the EncryptionConfiguration gets the new provider, which does not write yet
  2. the new provider writes; every kube-apiserver has loaded that, and uses no older key
  3. scan, rewrite what is elsewhere, and scan again
  4. the old providers go; and then the old stores, from the configuration of the plugin
--write FILE writes each next EncryptionConfiguration (it may contain keys of other providers), and --install COMMAND brings it to all
nodes. Without them the command stops for you, and goes on when it is run again: the cluster says what is left to do.
Exit codes:
  0  the migration is done; with --dry-run: the step can be taken
  1  a step failed: see the message, and run the command again
  3  it waited as long as it may, or only an operator can go on. It prints for what, and what to do
On a control-plane node of kubeadm:
  teapot-kms migrate --to teapot --config /etc/teapot-kms/config.yaml --replicas 3 --host node-1 node-2 node-3 \\
    --fetch "ssh {host} teapot-kms status --report --config /etc/teapot-kms/config.yaml --nonce {nonce}" \\
    --encryption-config /etc/kubernetes/encryption/config.yaml --write /root/next.yaml \\
    --kubeconfig /etc/kubernetes/admin.conf --apiserver https://node-1:6443 https://node-2:6443 https://node-3:6443 \\
    ${KUBEADM_FILES}`;

/** @param leastSettleMs - the least that --settle may be */
export function registerMigrate(program: Command, leastSettleMs: number): void {
  const command = program
    .command('migrate')
    .description('Move all data to the key of an instance, or back to plain text, while the cluster runs')
    .addOption(new Option('--to <target>', 'where the data is to be').choices(TARGETS).makeOptionMandatory())
    .requiredOption('-c, --config <file>', 'the configuration of the plugin')
    .option('-i, --instance <name>', 'name of the instance; optional if there is only one')
    .requiredOption('--encryption-config <file>', 'the EncryptionConfiguration that kube-apiserver reads on this host');
  withEtcdOptions(withClusterOptions(withReportOptions(command)))
    .option('--dry-run', 'print the next step, and change nothing')
    .option('--resource <names...>', 'resources to encrypt, where the plugin is not among the providers yet', [
      'secrets',
    ])
    .option('--write <file>', 'write the next EncryptionConfiguration to this file, with mode 0600')
    .option('--install <command>', 'shell command that puts it in its place on every control-plane node')
    .option(
      '--configuration-loaded',
      'every kube-apiserver has loaded the file that is there now: those before 1.34 do not show that',
    )
    .option('--provider <name>', "the KMS provider's name in the EncryptionConfiguration. Default: teapot-INSTANCE")
    .addOption(waitOption())
    .addOption(settleOption('how long each kube-apiserver must have written only there', leastSettleMs))
    .addOption(outputOption())
    .addHelpText('after', HELP)
    .action(migrate);
}

async function migrate(options: MigrateOptions): Promise<void> {
  if (options.to === 'teapot' && options.replicas === undefined)
    throw new UsageError('expected --replicas NUMBER: how many plugins use this keyset');
  if (options.install !== undefined && options.write === undefined)
    throw new UsageError('--install needs --write FILE: the file that it brings to the nodes');
  const { wait: waitMs, dryRun = false } = options;
  // Memory that no other command needs.
  const { withMigrationSteps } = await import('./migrate-tools.ts');
  const about = { dryRun, waitMs, pollMs: POLL_MS, clock: systemClock, say: sayer() };
  const { end, next } = await withMigrationSteps(options, (steps) => performMigration(steps, about));
  print(options.output === 'json' ? JSON.stringify({ end, ...next }) : `${ENDS[end]}\n${textOf(next)}`);
  if (end === 'waited' || end === 'blocked' || (dryRun && isWaiting(next.step))) process.exitCode = ExitCode.UNHEALTHY;
}

const ENDS: Readonly<Record<MigrationOutcome['end'], string>> = {
  done: 'Nothing is left to do.',
  planned: 'The next step:',
  waited: 'This step has waited as long as it may (--wait). Run the command again when what it waits for is there.',
  blocked: 'Only you can go on. Then run the command again.',
};
