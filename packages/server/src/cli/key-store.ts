import { KmsError, providerFor, SharedResources } from '@teapot-kms/core';
import type { KeysetAdmin, KeysetSource, RemoteKek } from '@teapot-kms/core';
import { Option } from 'commander';
import type { Command } from 'commander';
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { loadConfig } from '../config/load.ts';
import { DEFAULT_STATE_DIRECTORY, storesOf } from '../config/schema.ts';
import type { Config, InstanceConfig, KeysConfig } from '../config/schema.ts';
import { directoryOf } from '../doctor/concrete.ts';
import { foreignOwner } from '../doctor/keyset-owner.ts';
import { servingProcess, userOf } from '../doctor/plugin-user.ts';
import { UsageError } from './exit-codes.ts';
import { printError } from './output.ts';

export interface KeyStoreOptions {
  readonly uri?: string;
  readonly cloudConfig?: string;
  readonly config?: string;
  readonly instance?: string;
}

/** Adds the two ways to name a keyset: its URI, or an instance of a configuration. */
export function withKeyStoreOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--uri <uri>', 'URI of the key store, such as file:/var/lib/teapot-kms/keys, if it needs no settings')
        // Neither may win in silence: a change would go to another keyset than the operator means.
        .conflicts(['config', 'instance']),
    )
    .addOption(
      new Option(
        '--cloud-config <file>',
        'with --uri barbican:...: log in with this cloud.conf. Default: the OS_* variables',
      ).conflicts(['config', 'instance']),
    )
    .option('-c, --config <file>', 'use the key store of an instance of this configuration')
    .option('-i, --instance <name>', 'name of the instance; optional if there is only one');
}

/**
 * Opens the key store that the options name. The caller closes it.
 * @throws {@link UsageError} if the options do not name a key store
 */
export function openKeyStore(options: KeyStoreOptions): KeysetSource | RemoteKek {
  const shared = new SharedResources();
  if (options.uri !== undefined) {
    const provider = providerFor(options.uri);
    if (provider.kind === 'remote-kek') {
      const message = `a ${provider.scheme}: key store needs settings; use --config FILE [--instance NAME] instead of --uri`;
      throw new UsageError(message);
    }
    const given = options.cloudConfig === undefined ? {} : { cloudConfig: resolve(options.cloudConfig) };
    // Some settings are required for an instance but not for the management of keys.
    const settings = provider.settings.partial().safeParse(given);
    if (!settings.success) throw new UsageError(`--cloud-config does not apply to ${provider.scheme}: keys`);
    return provider.open(options.uri, settings.data, shared);
  }
  return openConfigured(instanceOf(options).keys, shared);
}

/**
 * Opens every store that the plugin decrypts with: the one of {@link openKeyStore} first, then those of `decryptOnly`. The caller closes them.
 */
export function openKeyStores(options: KeyStoreOptions): readonly (KeysetSource | RemoteKek)[] {
  if (options.uri !== undefined) return [openKeyStore(options)];
  const shared = new SharedResources();
  return storesOf(instanceOf(options)).map((keys) => openConfigured(keys, shared));
}

const openConfigured = ({ uri, ...settings }: KeysConfig, shared: SharedResources): KeysetSource | RemoteKek =>
  providerFor(uri).open(uri, settings, shared);

/**
 * Runs `work` on a store whose keys are managed, then closes the store.
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI` for a store whose keys are managed elsewhere
 */
export async function withStore<T>(
  options: KeyStoreOptions,
  work: (opened: { readonly store: KeysetSource | RemoteKek; readonly admin: KeysetAdmin }) => Promise<T>,
): Promise<T> {
  const store = openKeyStore(options);
  const { admin } = store;
  try {
    if (!admin)
      throw new KmsError('ERR_KMS_INVALID_URI', `${store.uri}: this command does not manage keys of this key store`);
    const destination = await admin.destination?.();
    if (destination !== undefined) printError(`${store.uri} at ${destination}`);
    if (process.geteuid?.() === 0) await warnOfOwner(options, store.uri);
    return await work({ store, admin });
  } finally {
    await store.close?.();
  }
}

/** A command that root runs takes the keyset of any user. */
async function warnOfOwner(options: KeyStoreOptions, uri: string): Promise<void> {
  const stateDirectory = options.config === undefined ? DEFAULT_STATE_DIRECTORY : configOf(options).stateDirectory;
  const keys = keysOf(options, uri);
  const serving = options.config === undefined ? undefined : servingProcess(options.config);
  const found = await foreignOwner(keys, userOf(serving, stateDirectory).uid);
  if (found) printError(`WARNING: ${found.text}; fix: ${found.remedy}`);
}

/** {@link withStore}, for a change that needs only the manifest. */
export function withAdmin<T>(options: KeyStoreOptions, work: (admin: KeysetAdmin) => Promise<T>): Promise<T> {
  return withStore(options, ({ admin }) => work(admin));
}

/** The directory on this host of the keyset that the options name. @param uri - of their store */
export const directoryFor = (options: KeyStoreOptions, uri: string): string | undefined =>
  directoryOf(keysOf(options, uri));

/** @param uri - of the store that they name */
const keysOf = (options: KeyStoreOptions, uri: string): KeysConfig =>
  options.uri === undefined ? instanceOf(options).keys : { uri };

/**
 * A mistyped path must not become a keyset, wherever its keys are.
 * @param uri - of the store that the options name
 * @throws {@link UsageError} if the directory is `/`, or the one above it does not exist
 */
export function checkParent(options: KeyStoreOptions & { readonly createParents?: boolean }, uri: string): void {
  const directory = directoryFor(options, uri);
  if (directory === undefined) return;
  if (resolve(directory) === '/') {
    throw new UsageError(
      '/ is the root directory of this host, and a keyset needs a directory of its own; correct the path',
    );
  }
  if (options.createParents || existsSync(dirname(directory))) return;
  throw new UsageError(`${dirname(directory)} does not exist; correct the path, or pass --create-parents`);
}

/** Returns the configuration that `--config` names. */
export function configOf({ config: file }: KeyStoreOptions): Config {
  if (file === undefined) throw new UsageError('expected --uri URI, or --config FILE [--instance NAME]');
  return loadConfig(file);
}

/** Returns the instance that `--config` and `--instance` name. */
export function instanceOf(options: KeyStoreOptions): InstanceConfig {
  const { config: file, instance: name } = options;
  const { instances } = configOf(options);
  const names = instances.map((instance) => instance.name).join(', ');
  const found =
    name === undefined && instances.length === 1 ? instances[0] : instances.find((one) => one.name === name);
  if (found) return found;
  const problem = name === undefined ? 'choose an instance with --instance' : `there is no instance ${name}`;
  throw new UsageError(`${file}: ${problem}; there are: ${names}`);
}

/** Returns the path of a socket that may have the form of kube-apiserver's `endpoint`: `unix:///run/kms.sock`. */
export function socketPathOf(socket: string): string {
  return socket.replace(/^unix:\/\//, '');
}
