import { Command } from 'commander';
import { OLD_SEED_MS } from '../rotate/scan-evidence.ts';
import { version } from '../version.ts';
import { registerBarbicanKmsPlugin } from './barbican-kms-plugin.ts';
import { registerCompletion } from './completion.ts';
import { registerConfig } from './config.ts';
import { registerDoctor } from './doctor.ts';
import { EXIT_CODES_HELP } from './exit-codes.ts';
import { registerInspect } from './inspect.ts';
import { registerKeys } from './keys.ts';
import { registerMigrate } from './migrate.ts';
import { registerRotate } from './rotate.ts';
import { registerScan } from './scan.ts';
import { registerServe } from './serve.ts';
import { registerSetup } from './setup.ts';
import { registerStatus } from './status.ts';
import { registerSupportBundle } from './support-bundle.ts';

export { allCommands, describeCommand } from './command-tree.ts';
export { runProgram } from './run-program.ts';
export type { CommandDescription, OptionDescription } from './command-tree.ts';

export interface ProgramOptions {
  /** The least that --settle may be, in ms. Default: what is safe in a cluster. Tests in which nothing writes need not wait for it. */
  readonly leastSettleMs?: number;
}

/** The commands of `teapot-kms`. The manual page and the shells' completions are made from them. */
export function createProgram({ leastSettleMs = OLD_SEED_MS }: ProgramOptions = {}): Command {
  const program = new Command('teapot-kms')
    .description('Kubernetes KMS plugin: encrypts the Secrets in etcd with a key that is not in etcd.')
    .version(version)
    .showHelpAfterError('(use --help for the options)')
    .exitOverride()
    .addHelpText(
      'after',
      `
To start, with a key in a directory:
  teapot-kms keys generate --uri file:/var/lib/teapot-kms/keys --create-parents
  teapot-kms config validate --config /etc/teapot-kms/config.yaml
  teapot-kms serve --config /etc/teapot-kms/config.yaml
  teapot-kms config encryption-configuration --config /etc/teapot-kms/config.yaml
On a control-plane node of kubeadm, all of this in one command:
  teapot-kms setup kubeadm --help
To find and fix a problem:
  teapot-kms doctor --config /etc/teapot-kms/config.yaml
  teapot-kms support-bundle --help
To see what encrypts the objects in etcd:
  teapot-kms scan --help
  teapot-kms inspect --help
${EXIT_CODES_HELP}`,
    );

  registerServe(program);
  registerKeys(program);
  registerStatus(program);
  registerConfig(program);
  registerDoctor(program);
  registerSupportBundle(program);
  registerInspect(program);
  registerScan(program);
  registerRotate(program, leastSettleMs);
  registerMigrate(program, leastSettleMs);
  registerSetup(program);
  registerBarbicanKmsPlugin(program);
  registerCompletion(program);
  return program;
}
