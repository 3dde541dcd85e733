import { isMap, isScalar, isSeq } from 'yaml';
import type { YAMLMap, YAMLSeq } from 'yaml';
import { editYaml, invalid, isNamed, placeFor, readMaps, removeFrom, textIn } from '../kubernetes/edit-yaml.ts';
import type { YamlMaps } from '../kubernetes/edit-yaml.ts';
import {
  CONFIG_FLAG,
  CONFIG_VOLUME,
  directoriesFor,
  flagsFor,
  RELOAD_FLAG,
  SOCKET_VOLUME,
} from './encryption-access.ts';
import type { EncryptionAccess, HostDirectory } from './encryption-access.ts';

const CONTAINER = 'kube-apiserver';

/**
 * kube-apiserver's flags in its static pod manifest, without their dashes.
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST` for another manifest
 */
export function flagsOf(text: string, where: string): ReadonlyMap<string, string> {
  const flags = commandOf(readMaps(text, where)).items.map((item) => /^--([^=]+)=?(.*)$/s.exec(flagText(item)));
  return new Map(flags.flatMap((found) => (found ? [[found[1]!, found[2]!]] : [])));
}

/**
 * Returns the manifest of a kube-apiserver that reads an EncryptionConfiguration and reaches the plugin. What is there already stays as it is; what
 * is added stands where kubeadm would put it.
 * @throws as {@link flagsOf}
 */
export function withEncryption(text: string, where: string, access: EncryptionAccess): string {
  return editYaml(text, where, (yaml) => {
    const flags = [...flagsFor(access)].map(([name, value]) => setFlag(yaml, name, value));
    const volumes = directoriesFor(access).map((directory) => mount(yaml, directory));
    return [...flags, ...volumes].includes(true);
  });
}

/** The opposite of {@link withEncryption}. @param keepConfig - only the plugin's socket goes: other providers go on */
export function withoutEncryption(text: string, where: string, keepConfig: boolean): string {
  return editYaml(text, where, (yaml) => {
    const names = keepConfig ? [SOCKET_VOLUME] : [SOCKET_VOLUME, CONFIG_VOLUME];
    const removed = [yaml.list(containerOf(yaml), 'volumeMounts'), yaml.list(specOf(yaml), 'volumes')].map((list) =>
      removeFrom(list, (item) => isNamed(item, ...names)),
    );
    if (keepConfig) return removed.includes(true);
    const flags = removeFrom(commandOf(yaml), (item) => [CONFIG_FLAG, RELOAD_FLAG].includes(nameOfFlag(item)));
    return [...removed, flags].includes(true);
  });
}

function setFlag(yaml: YamlMaps, name: string, value: string): boolean {
  const command = commandOf(yaml);
  const text = `--${name}=${value}`;
  const found = command.items.filter((item) => nameOfFlag(item) === name);
  if (found.length === 1 && flagText(found[0]) === text) return false;
  removeFrom(command, (item) => found.includes(item));
  // kubeadm sorts flags by their names.
  command.items.splice(placeFor(command.items.map(nameOfFlag), name, 1), 0, yaml.document.createNode(text));
  return true;
}

const flagText = (item: unknown): string => (isScalar(item) ? String(item.value) : '');
const nameOfFlag = (item: unknown): string => /^--([^=]+)/.exec(flagText(item))?.[1] ?? '';

/** @returns whether something was missing */
function mount(yaml: YamlMaps, { name, path, type }: HostDirectory): boolean {
  const [container, spec] = [containerOf(yaml), specOf(yaml)];
  const mounted = yaml.maps(container, 'volumeMounts').find((one) => textIn(one, 'mountPath') === path);
  if (mounted) {
    // A second mount at a path is refused by the kubelet.
    const volume = yaml.maps(spec, 'volumes').find((one) => isNamed(one, textIn(mounted, 'name') ?? ''));
    if (volume?.getIn(['hostPath', 'path']) === path && mounted.get('subPath') === undefined) return false;
    throw invalid(
      `${yaml.where}: something other than the host's ${path} is mounted at ${path}`,
      'remove that mount, and run the command again',
    );
  }
  for (const list of [yaml.list(container, 'volumeMounts'), yaml.list(spec, 'volumes')])
    removeFrom(list, (item) => isNamed(item, name));
  yaml.insert(container, 'volumeMounts', { mountPath: path, name, readOnly: true }, 'name');
  yaml.insert(spec, 'volumes', { hostPath: { path, type }, name }, 'name');
  return true;
}

function specOf({ root, where }: YamlMaps): YAMLMap {
  const spec = root.get('spec', true);
  if (root.get('kind') === 'Pod' && isMap(spec)) return spec;
  throw invalid(`${where}: expected a Pod`);
}

function containerOf(yaml: YamlMaps): YAMLMap {
  const found = yaml.maps(specOf(yaml), 'containers').find((one) => isNamed(one, CONTAINER));
  if (found) return found;
  throw invalid(`${yaml.where}: expected a container ${CONTAINER}`);
}

function commandOf(yaml: YamlMaps): YAMLSeq {
  const command = containerOf(yaml).get('command', true);
  if (isSeq(command) && command.items.every(isScalar)) return command;
  throw invalid(
    `${yaml.where}: expected kube-apiserver's flags in "command"`,
    'move the flags from "args" to "command"',
  );
}
