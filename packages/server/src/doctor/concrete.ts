import { directoryOfUri, shellWord, systemClock } from '@teapot-kms/core';
import { existsSync } from 'node:fs';
import type { InstanceConfig, KeysConfig } from '../config/schema.ts';

/** The directory of the manifest, where the host has it. */
export function directoryOf({ uri, keyset }: KeysConfig): string | undefined {
  if (typeof keyset === 'string') return keyset;
  return /^(file|barbican):/.test(uri) ? directoryOfUri(uri) : undefined;
}

/** What a remedy says, and the command for it. */
type Command = readonly [phrase: string, command: string];

/**
 * Puts what `doctor` knows into a remedy, so that it can be followed to the letter. NODE, BACKUP and ADMIN (a kubeconfig) stay open. No
 * command writes over a file: what is there is moved to a free name, and a copy goes beside it, from where "keys import" takes only what is
 * missing or damaged.
 * @param file - the configuration
 */
export function concrete(remedy: string, { name, keys }: InstanceConfig, file: string): string {
  const directory = directoryOf(keys);
  const commands = directory === undefined ? commandsOfStore(keys.uri) : commandsAt(directory);
  const [phrase, keyId] = /move key (\S+) aside/.exec(remedy) ?? [];
  if (phrase !== undefined && directory !== undefined && keys.uri.startsWith('file:')) {
    commands.push([phrase, moveAside(`${directory}/${keyId!}.key`)]);
  }
  return commands
    .reduce((text, [phrase, command]) => text.replace(phrase, () => `${phrase} (${command})`), ofStore(remedy, keys))
    .replaceAll('--config FILE', () => `--config ${shellWord(file)}`)
    .replaceAll('--instance NAME', () => `--instance ${name}`);
}

/** Copies a keyset from another host beside the one that is here, and takes from it what is missing or damaged. */
export const fetchFrom = (host: string, directory: string, copy: string): string =>
  `scp -rp ${shellWord(`${host}:${directory}`)} ${shellWord(copy)} && ${importOf(copy)}`;

/** @param copy - the directory of a keyset */
export const importOf = (copy: string): string =>
  `teapot-kms keys import ${shellWord(copy)} --config FILE --instance NAME`;

const moveAside = (path: string, as = 'aside'): string =>
  `mv ${shellWord(path)} ${shellWord(freeName(`${path}.${as}`))}`;

function commandsAt(directory: string): Command[] {
  const fetch = fetchFrom('NODE', directory, freeName(`${directory}.copy`));
  const manifest = `${directory}/keyset.yaml`;
  return [
    ['the keyset from another node', fetch],
    ['the keys from another node', fetch],
    ['the manifest of these keys from another node', fetch],
    ['the keyset here aside', moveAside(directory)],
    ['the damaged manifest aside', moveAside(manifest, 'damaged')],
  ];
}

/** Where all nodes have one store. */
function commandsOfStore(uri: string): Command[] {
  const [, namespace, secret] = /^k8s-secret:([^/]+)\/(.+)$/.exec(uri) ?? [];
  if (namespace !== undefined && secret !== undefined) {
    // A name that no earlier move has taken: this one would write over it.
    const now = new Date(systemClock.wall()).toISOString().replace(/\D/g, '').slice(0, 12);
    const move = { op: 'move', from: '/data/keyset.yaml', path: `/data/keyset.yaml.aside-${now}` };
    const patch = shellWord(JSON.stringify([move]));
    const command = `KUBECONFIG=ADMIN kubectl -n ${namespace} patch secret ${secret} --type=json -p ${patch}`;
    return [
      ['the keyset here aside', command],
      ['the damaged manifest aside', command],
    ];
  }
  const [, name] = /^barbican:(.+)$/.exec(uri) ?? [];
  if (name === undefined) return [];
  const list = `openstack secret list --name teapot-kms-keyset-${name}`;
  return [
    ['the keyset here aside', `save the payload of the newest secret in a file, and delete that secret: ${list}`],
  ];
}

/** Other nodes have no copy of what is in a store of all nodes. The plugin may only read its Secret. */
function ofStore(remedy: string, keys: KeysConfig): string {
  if (directoryOf(keys) === undefined) {
    const text = remedy.replace('from another node, or from the backup', 'from the backup');
    if (!keys.uri.startsWith('k8s-secret:')) return text;
    const command = 'teapot-kms keys import BACKUP';
    return text.replace(`${command} --config FILE --instance NAME`, `KUBECONFIG=ADMIN ${command} --uri ${keys.uri}`);
  }
  return keys.uri.startsWith('file:') ? remedy : remedy.replace('the keys from another node, or from', 'the keys from');
}

function freeName(path: string): string {
  let [free, count] = [path, 1];
  while (existsSync(free)) free = `${path}-${String(++count)}`;
  return free;
}
