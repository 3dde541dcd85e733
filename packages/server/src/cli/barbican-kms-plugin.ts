import { Option } from 'commander';
import type { Command } from 'commander';
import { isAbsolute, normalize } from 'node:path';
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

const run = (flags: Flags): Promise<void> => runPlugin(configurationOf(flags), '(flags)');

/** The configuration that means the same as the flags (JSON is YAML). */
export function configurationOf({ socketpath, cloudConfig, keys: uri, v }: Flags): string {
  // That plugin takes doubled slashes.
  const path = socketPathOf(socketpath);
  const socket = isAbsolute(path) ? normalize(path) : path;
  // klog's own form is -v=4.
  const level = Number((v ?? '0').replace(/^=/, '')) >= DEBUG_VERBOSITY ? 'debug' : 'info';
  const instance = { name: INSTANCE, socket, keys: { uri, cloudConfig } };
  return JSON.stringify({ version: 1, log: { level }, instances: [instance] });
}
