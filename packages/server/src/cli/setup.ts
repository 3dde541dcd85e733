import type { Command } from 'commander';
import { Option } from 'commander';
import { unusedImport } from '../setup/plan-encryption.ts';
import type { Plan, PlanInput } from '../setup/plan-input.ts';
import type { Site } from '../setup/site.ts';
import { withOpenerOptions } from './backup-options.ts';
import { durationOption } from './duration-option.ts';
import { ExitCode, UsageError } from './exit-codes.ts';
import { print, printError } from './output.ts';
import { siteOf } from './setup-site.ts';
import type { SetupOptions } from './setup-site.ts';

export function registerSetup(program: Command): void {
  const setup = program.command('setup').description('Encrypt a cluster with this plugin, or go back');
  withOpenerOptions(
    setup
      .command('kubeadm')
      .description(
        'Encrypt a cluster of kubeadm: run it on each control-plane node, as root. Prints the changes and stops',
      )
      .option('--apply', 'make the changes, wait until kube-apiserver encrypts, and roll back what does not succeed')
      .option('--dry-run', 'the default: print the changes, and make none')
      .option('--undo', 'go back: the plugin stops writing, and goes when no object in etcd needs it')
      .addOption(durationOption('--timeout <duration>', 'time for each step before it is rolled back', 300_000, '5m'))
      .option('-c, --config <file>', "the plugin's configuration; made if it is missing", '/etc/teapot-kms/config.yaml')
      .option('-i, --instance <name>', 'name of the instance; optional if there is only one')
      .option('--uri <uri>', 'for a new configuration: the key store', 'file:/var/lib/teapot-kms/main')
      .option('--socket <path>', "for a new configuration: the plugin's socket", '/run/teapot-kms/main/kms.sock')
      .option('--import <file>', 'an export of the keyset ("keys export"), on the second and each further node')
      .addOption(
        new Option('--plugin <how>', 'what starts the plugin: the systemd unit, a static pod, or you')
          .choices(['systemd', 'static-pod', 'external'])
          .default('systemd'),
      )
      .option('--image <name>', 'image of the static pod. Default: localhost/teapot-kms:VERSION')
      .option('--resource <names...>', 'resources to encrypt, separated by spaces; secrets is one of them', ['secrets'])
      .option('--kubernetes-directory <path>', "kubeadm's directory", '/etc/kubernetes')
      .option('--kubeconfig <file>', 'of an administrator. Default: admin.conf in that directory')
      .addHelpText('after', HELP),
  ).action(setUp);
}

const HELP = `
Steps: configuration, keyset, plugin, read (kube-apiserver can read through the plugin), kubeadm (ConfigMap kubeadm-config), write.
No kube-apiserver writes before every one can read: with several nodes, run the command on each, then once more where it waited.
Second and further nodes: "keys export" on the first one, and --import FILE with --identity or --passphrase-file here.
To undo: stop-writing, then rewrite all Secrets, then remove. Keys stay on the host: backups of etcd need them.
After an interruption, run the command again. Files from before the changes are in /etc/kubernetes/teapot-kms-backup.
Exit code 0: done, or the changes are printed. Exit code 3: it waits for another node or for you, or is blocked, and says what to do.
Exit code 1: it failed, and what it changed is rolled back, or the message says why not.`;

async function setUp(options: SetupOptions): Promise<void> {
  if (options.apply && options.dryRun) throw new UsageError('--apply and --dry-run exclude each other');
  if (!options.resource.includes('secrets')) throw new UsageError('--resource: expected secrets among them');
  if (options.undo && options.import !== undefined) throw new UsageError('--undo needs no --import');
  const { site, wish, locked } = siteOf(options, { report: reportStep, tell: printError });
  try {
    await previewOrRun(options, { site, wish, locked });
  } finally {
    site.close();
  }
}

async function previewOrRun(options: SetupOptions, { site, wish, locked }: ReturnType<typeof siteOf>): Promise<void> {
  // Only this command needs them.
  const [{ look, run }, { readJournal }] = await Promise.all([
    import('../setup/run.ts'),
    import('../setup/journal.ts'),
  ]);
  if (!options.apply) {
    const journal = await readJournal(site);
    if (journal) printError(`WARNING: step ${journal.step} was interrupted; --apply finishes it, or rolls it back`);
    return printPreview(await look(site, wish, 'without-probes'));
  }
  printEnd(await locked(() => run(site, wish, options.timeout)), options, site);
}

const reportStep = ({ step, reason }: Plan): void => printError(`${step}: ${reason}`);

async function printPreview(input: PlanInput): Promise<void> {
  const { diffOf, preview } = await import('../setup/preview.ts');
  const unused = unusedImport(input);
  if (unused !== undefined) printError(unused);
  const steps = preview(input);
  for (const step of steps) {
    print(`# ${step.step}: ${step.reason}`);
    if (step.remedy !== undefined) print(`# next: ${step.remedy}`);
    const diff = diffOf(step, input.clusterConfiguration);
    if (diff !== '') print(diff);
  }
  const { step } = steps.at(-1)!;
  if (step === 'blocked') process.exitCode = ExitCode.UNHEALTHY;
  printError('Nothing is changed. To make these changes: --apply');
}

function printEnd({ step, reason, remedy }: Plan, options: SetupOptions, site: Site): void {
  print(`${step}: ${reason}`);
  if (remedy !== undefined) print(`next: ${remedy}`);
  if (step === 'done') print(options.undo ? undone(options) : whatToKeep(options, site));
  else if (step !== 'join') process.exitCode = ExitCode.UNHEALTHY;
}

const whatToKeep = ({ config, instance, kubernetesDirectory }: SetupOptions, { backupDirectory }: Site): string => `
Rewrite what was stored before:
  kubectl get secrets -A -o json | kubectl replace -f -
Back up now, and after each change of the keyset; without it, every Secret is lost:
  teapot-kms keys export --config ${config}${instance === undefined ? '' : ` --instance ${instance}`} --recipient age1... --out keyset.age
Keep that file, and what opens it, away from this host and from etcd. Back up these too:
  ${config}
  ${kubernetesDirectory}/teapot-kms/encryption-config.yaml (may contain keys of other providers)
Files from before the changes: ${backupDirectory}
With more control-plane nodes: run this command on each, until it says "done".`;

/** What is left to do after an undo. */
export const undone = ({
  plugin,
  kubernetesDirectory,
}: Pick<SetupOptions, 'plugin' | 'kubernetesDirectory'>): string => `
When all control-plane nodes are done, stop the plugin${STOP[plugin](kubernetesDirectory)}
Keep the keyset: backups of etcd from before need it.`;

const STOP: Readonly<Record<SetupOptions['plugin'], (directory: string) => string>> = {
  systemd: () => ':\n  systemctl disable --now teapot-kms',
  'static-pod': (directory) => `:\n  rm ${directory}/manifests/teapot-kms.yaml`,
  external: () => '.',
};
