import { directoryOfUri } from '@teapot-kms/core';
import { dirname } from 'node:path';
import type { InstanceConfig, KeysConfig } from '../config/schema.ts';

/** The directory of the manifest, where the host has it. */
export function directoryOf({ uri, keyset }: KeysConfig): string | undefined {
  if (typeof keyset === 'string') return keyset;
  return /^(file|barbican):/.test(uri) ? directoryOfUri(uri) : undefined;
}

/**
 * Puts what `doctor` knows into a remedy, so that it can be followed to the letter. NODE and BACKUP stay open.
 * @param file - the configuration
 */
export function concrete(remedy: string, { name, keys }: InstanceConfig, file: string): string {
  const named = remedy
    .replaceAll('--config FILE', `--config ${file}`)
    .replaceAll('--instance NAME', `--instance ${name}`);
  const directory = directoryOf(keys);
  if (directory === undefined) return named;
  const commands: [phrase: string, command: string][] = [
    ['the keyset from another node', `scp -rp NODE:${directory} ${dirname(directory)}/`],
    ['the keyset here aside', `mv ${directory} ${directory}.aside`],
    ['the damaged manifest aside', `mv ${directory}/keyset.yaml ${directory}/keyset.yaml.damaged`],
  ];
  if (keys.uri.startsWith('file:')) {
    commands.push(['the keys from another node', `scp -p NODE:${directory}/*.key ${directory}/`]);
  }
  return commands.reduce((text, [phrase, command]) => text.replace(phrase, `${phrase} (${command})`), named);
}
