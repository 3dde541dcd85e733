import { Option } from 'commander';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { kmsProvider, providerName } from '../config/kms-provider.ts';
import { loadConfig } from '../config/load.ts';
import { configJsonSchema } from '../config/schema.ts';
import { UsageError } from './exit-codes.ts';
import { instanceOf } from './key-store.ts';
import { print } from './output.ts';

interface EncryptionConfigurationOptions {
  readonly config: string;
  readonly instance?: string;
  readonly kmsVersion: 'v1' | 'v2';
  readonly resource: string[];
}

export function registerConfig(program: Command): void {
  const config = program.command('config').description('Check a configuration, or print what belongs to it');
  config
    .command('validate')
    .description('Check a configuration, and print each problem with file, line, setting, expected and found value')
    .requiredOption('-c, --config <file>', 'the configuration')
    .action(({ config: file }: { config: string }) => {
      const { instances } = loadConfig(file);
      print(`${file}: valid, ${instances.length} instance${instances.length === 1 ? '' : 's'}`);
    });
  config
    .command('schema')
    .description('Print the JSON Schema of the configuration, for editors and CI')
    .action(() => print(JSON.stringify(configJsonSchema(), null, 2)));
  config
    .command('encryption-configuration')
    .description("Print the EncryptionConfiguration for an instance's kube-apiserver (--encryption-provider-config)")
    .requiredOption('-c, --config <file>', 'the configuration')
    .option('-i, --instance <name>', 'name of the instance; optional if there is only one')
    .addOption(
      new Option('--kms-version <version>', 'v1 is for clusters that need it (feature gate KMSv1=true since 1.29)')
        .choices(['v1', 'v2'])
        .default('v2'),
    )
    .option('--resource <names...>', 'resources to encrypt, separated by spaces', ['secrets'])
    .action((options: EncryptionConfigurationOptions) => print(encryptionConfiguration(options)));
}

/** `secrets`, `deployments.apps`, `*.apps`, `*.*` */
const RESOURCE = /^(\*|[a-z][a-z0-9-]*)(\.(\*|[a-z0-9.-]*))?$/;

/** @see https://kubernetes.io/docs/tasks/administer-cluster/kms-provider/ */
function encryptionConfiguration(options: EncryptionConfigurationOptions): string {
  for (const resource of options.resource) {
    if (RESOURCE.test(resource)) continue;
    const expected = 'expected resources separated by spaces, such as: secrets configmaps';
    throw new UsageError(`--resource: ${expected}; found ${JSON.stringify(resource)}`);
  }
  const { name, socket } = instanceOf(options);
  const version = options.kmsVersion;
  const kms = kmsProvider({
    name: version === 'v2' ? providerName(name) : `${providerName(name)}-v1`,
    socket,
    version,
  });
  const resources = [{ resources: options.resource, providers: [{ kms }, { identity: {} }] }];
  return stringify({ apiVersion: 'apiserver.config.k8s.io/v1', kind: 'EncryptionConfiguration', resources }).trimEnd();
}
