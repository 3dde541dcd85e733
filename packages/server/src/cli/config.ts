import type { Command } from 'commander';
import { stringify } from 'yaml';
import { loadConfig } from '../config/load.ts';
import { configJsonSchema } from '../config/schema.ts';
import { instanceOf } from './key-store.ts';
import { print } from './output.ts';

interface EncryptionConfigurationOptions {
  readonly config: string;
  readonly instance?: string;
  readonly kmsVersion: 'v1' | 'v2';
  readonly resource: string[];
}

export function registerConfig(program: Command): void {
  const config = program.command('config').description('Check a configuration, or make what goes with it');
  config
    .command('validate')
    .description('Check a configuration; every problem with file, line, path, what was expected and what was found')
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
    .description(
      "Print the EncryptionConfiguration to give to an instance's kube-apiserver (--encryption-provider-config)",
    )
    .requiredOption('-c, --config <file>', 'the configuration')
    .option('-i, --instance <name>', 'which instance; may be left out where there is only one')
    .option('--kms-version <version>', 'v2, or v1 for clusters that need it (gate KMSv1=true since 1.29)', 'v2')
    .option('--resource <names...>', 'what to encrypt', ['secrets'])
    .action((options: EncryptionConfigurationOptions) => print(encryptionConfiguration(options)));
}

/** @see https://kubernetes.io/docs/tasks/administer-cluster/kms-provider/ */
export function encryptionConfiguration(options: EncryptionConfigurationOptions): string {
  const { name, socket } = instanceOf(options);
  const v2 = options.kmsVersion === 'v2';
  const kms = {
    apiVersion: options.kmsVersion,
    // Names must be unique in the file and never change: data is found by them.
    name: v2 ? `teapot-${name}` : `teapot-${name}-v1`,
    endpoint: `unix://${socket}`,
    timeout: '3s',
    // v1 keeps this many data keys; each miss is a call. v2 has no such limit.
    ...(!v2 && { cachesize: 10_000 }),
  };
  const resources = [{ resources: options.resource, providers: [{ kms }, { identity: {} }] }];
  return stringify({ apiVersion: 'apiserver.config.k8s.io/v1', kind: 'EncryptionConfiguration', resources }).trimEnd();
}
