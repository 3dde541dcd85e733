import { Option } from 'commander';
import type { Command } from 'commander';
import { socketPathOf } from './key-store.ts';
import { runPlugin } from './serve.ts';

/** Name of the provider in the EncryptionConfiguration, and so of the instance: the prefix of encrypted data contains it. */
const INSTANCE = 'barbican';

/** klog verbosity at which barbican-kms-plugin logged each call. */
const DEBUG_VERBOSITY = 4;

interface Flags {
  readonly socketpath: string;
  readonly cloudConfig: string;
  readonly keys: string;
  readonly v?: string;
}

export function registerBarbicanKmsPlugin(program: Command): void {
  program
    .command('barbican-kms-plugin')
    .description("Replace cloud-provider-openstack's barbican-kms-plugin: run with its flags and its cloud.conf")
    .requiredOption('--socketpath <path>', 'the socket: a path, or unix://PATH')
    .requiredOption(
      '--cloud-config <file>',
      'the cloud.conf; its [KeyManager] key-id decrypts data that was encrypted with it, and encrypts nothing',
    )
    .option('--keys <uri>', 'URI of the keyset that encrypts new data', 'barbican:/var/lib/teapot-kms/barbican')
    .addOption(
      new Option('-v, --v <level>', `verbosity of klog; ${DEBUG_VERBOSITY} and more selects the log level "debug"`),
    )
    .addOption(new Option('--vmodule <pattern>', 'accepted and ignored').hideHelp())
    .addOption(new Option('--log-flush-frequency <duration>', 'accepted and ignored').hideHelp())
    .addHelpText(
      'after',
      `
New data needs a key of its own. Generate it once, before the first start, on one of the nodes:
  teapot-kms keys generate --uri barbican:/var/lib/teapot-kms/barbican --cloud-config FILE
docs/barbican.md is the guide. For other settings (several sockets, ages, permissions) use "serve" with a configuration.`,
    )
    .action(run);
}

/** Runs "serve" with the equivalent configuration (JSON is YAML). */
function run({ socketpath, cloudConfig, keys: uri, v }: Flags): Promise<void> {
  const socket = socketPathOf(socketpath);
  const level = Number(v ?? 0) >= DEBUG_VERBOSITY ? 'debug' : 'info';
  const instance = { name: INSTANCE, socket, keys: { uri, cloudConfig } };
  const text = JSON.stringify({ version: 1, log: { level }, instances: [instance] });
  return runPlugin(text, '(flags)');
}
