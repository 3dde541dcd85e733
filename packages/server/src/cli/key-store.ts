import { KmsError, providerFor, SharedResources } from '@teapot-kms/core';
import type { KeysetAdmin, KeysetSource, RemoteKek } from '@teapot-kms/core';
import type { Command } from 'commander';
import { resolve } from 'node:path';
import { loadConfig } from '../config/load.ts';
import type { InstanceConfig } from '../config/schema.ts';
import { CliError, ExitCode } from './exit-codes.ts';
import { printError } from './output.ts';

export interface KeyStoreOptions {
  readonly uri?: string;
  readonly cloudConfig?: string;
  readonly config?: string;
  readonly instance?: string;
}

/** The two ways to say which keyset: by its URI, or as an instance of a configuration. */
export function withKeyStoreOptions(command: Command): Command {
  return command
    .option('--uri <uri>', 'the key store, e.g. file:/var/lib/teapot-kms/keys, where that says all about it')
    .option('--cloud-config <file>', 'with --uri barbican:..., log in as this cloud.conf says; else OS_* variables do')
    .option('-c, --config <file>', 'take the key store of an instance of this configuration')
    .option('-i, --instance <name>', 'which instance; may be left out where there is only one');
}

/** @throws {@link CliError} where the options do not name one key store */
function openKeyStore(options: KeyStoreOptions): KeysetSource | RemoteKek {
  const shared = new SharedResources();
  if (options.uri !== undefined) {
    const provider = providerFor(options.uri);
    if (provider.kind === 'remote-kek') {
      const message = `a ${provider.scheme}: URI needs settings beside it: --config FILE [--instance NAME]`;
      throw new CliError(ExitCode.USAGE, message);
    }
    const given = options.cloudConfig === undefined ? {} : { cloudConfig: resolve(options.cloudConfig) };
    // What a configuration must say of an instance means nothing to who manages keys.
    const settings = provider.settings.partial().safeParse(given);
    if (!settings.success) throw new CliError(ExitCode.USAGE, `--cloud-config is not for ${provider.scheme}: keys`);
    return provider.open(options.uri, settings.data, shared);
  }
  const { uri, ...settings } = instanceOf(options).keys;
  return providerFor(uri).open(uri, settings, shared);
}

/**
 * Runs `work` on the keys of a store, and lets go of it.
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI` for a store whose keys are not managed here
 */
export async function withAdmin<T>(options: KeyStoreOptions, work: (admin: KeysetAdmin) => Promise<T>): Promise<T> {
  const store = openKeyStore(options);
  try {
    if (!store.admin)
      throw new KmsError('ERR_KMS_INVALID_URI', `keys of ${store.uri} are not managed with this command`);
    const destination = await store.admin.destination?.();
    if (destination !== undefined) printError(`${store.uri} at ${destination}`);
    return await work(store.admin);
  } finally {
    await store.close?.();
  }
}

/** The instance that `--config` and `--instance` name. */
export function instanceOf({ config: file, instance: name }: KeyStoreOptions): InstanceConfig {
  if (file === undefined)
    throw new CliError(ExitCode.USAGE, 'say which keyset: --uri URI, or --config FILE [--instance NAME]');
  const { instances } = loadConfig(file);
  const names = instances.map((instance) => instance.name).join(', ');
  const found =
    name === undefined && instances.length === 1 ? instances[0] : instances.find((one) => one.name === name);
  if (found) return found;
  throw new CliError(
    ExitCode.USAGE,
    `${file}: ${name === undefined ? 'say which with --instance' : `no instance ${name}`}; there are: ${names}`,
  );
}
