import { Option } from 'commander';
import type { Command } from 'commander';
import { parseConfig } from '../config/load.ts';
import { runPlugin } from './serve.ts';

/** What kube-apiserver's EncryptionConfiguration calls it, and our instance: etcd's prefix depends on it. */
const INSTANCE = 'barbican';

/** From this klog verbosity on, barbican-kms-plugin logged each call. */
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
    .description(
      "Run in the place of cloud-provider-openstack's barbican-kms-plugin, with the flags and the cloud.conf that it had",
    )
    .requiredOption('--socketpath <path>', 'the socket, as before')
    .requiredOption(
      '--cloud-config <file>',
      'the cloud.conf, as before; its [KeyManager] key-id opens what was written with it, and seals nothing',
    )
    .option('--keys <uri>', 'the keyset for all that is written from now on', 'barbican:/var/lib/teapot-kms/barbican')
    .addOption(new Option('-v, --v <level>', `klog's verbosity; ${DEBUG_VERBOSITY} and more is our "debug"`))
    .addOption(new Option('--vmodule <pattern>', 'taken and ignored').hideHelp())
    .addOption(new Option('--log-flush-frequency <duration>', 'taken and ignored').hideHelp())
    .addHelpText(
      'after',
      `
New data needs a key of its own; make it once, before the first start, on one of the nodes:
  teapot-kms keys generate --uri barbican:/var/lib/teapot-kms/barbican --cloud-config FILE
docs/barbican.md is the guide. What can be set beside this (several sockets, ages, permissions) needs "serve" and a configuration.`,
    )
    .action(run);
}

/** As "serve" with the configuration that says the same (JSON is YAML). */
function run({ socketpath, cloudConfig, keys: uri, v }: Flags): Promise<void> {
  // Kubernetes' flag for it takes both forms.
  const socket = socketpath.replace(/^unix:\/\//, '');
  const level = Number(v ?? 0) >= DEBUG_VERBOSITY ? 'debug' : 'info';
  const instance = { name: INSTANCE, socket, keys: { uri, cloudConfig } };
  const text = JSON.stringify({ version: 1, log: { level }, instances: [instance] });
  return runPlugin(parseConfig(text, '(flags)'), { source: '(flags)', takeOver: false });
}
