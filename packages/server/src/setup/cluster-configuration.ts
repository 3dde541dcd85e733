import { isMap, isSeq } from 'yaml';
import type { YAMLMap } from 'yaml';
import { editYaml, invalid, isNamed, removeFrom, textIn } from '../kubernetes/edit-yaml.ts';
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

/** Where kubeadm keeps its ClusterConfiguration: a text in a ConfigMap of kube-system. */
export const CONFIG_MAP = 'kubeadm-config';
export const CONFIG_MAP_KEY = 'ClusterConfiguration';
const WHERE = `ConfigMap ${CONFIG_MAP}, ${CONFIG_MAP_KEY}`;

/**
 * Returns kubeadm's ClusterConfiguration with the flags and volumes that kube-apiserver's manifest has: `kubeadm upgrade` makes each manifest
 * from it. Flags are a map up to v1beta3, and a list since v1beta4.
 * @see https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST` for another text
 */
export function withEncryption(text: string, access: EncryptionAccess): string {
  return editYaml(text, WHERE, (yaml) => {
    const server = apiServerOf(yaml);
    const flags = [...flagsFor(access)].map(([name, value]) => setFlag(yaml, server, name, value));
    const volumes = directoriesFor(access).map((directory) => addVolume(yaml, server, directory));
    return [...flags, ...volumes].includes(true);
  });
}

/** The opposite of {@link withEncryption}. @param keepConfig - only the plugin's socket goes: other providers go on */
export function withoutEncryption(text: string, keepConfig: boolean): string {
  return editYaml(text, WHERE, (yaml) => {
    if (!isMap(yaml.root.get('apiServer', true))) return false;
    const server = apiServerOf(yaml);
    const removed = [without(server, 'extraVolumes', keepConfig ? [SOCKET_VOLUME] : [SOCKET_VOLUME, CONFIG_VOLUME])];
    if (!keepConfig) removed.push(without(server, 'extraArgs', [CONFIG_FLAG, RELOAD_FLAG]));
    return removed.includes(true);
  });
}

/** Removes what has one of the names from a list or map. What is empty then goes as well. */
function without(server: YAMLMap, key: string, names: readonly string[]): boolean {
  const found = server.get(key, true);
  if (!isMap(found) && !isSeq(found)) return false;
  const removed = isMap(found)
    ? names.map((name) => found.delete(name)).includes(true)
    : removeFrom(found, (item) => isNamed(item, ...names));
  if (found.items.length === 0) server.delete(key);
  return removed;
}

function apiServerOf(yaml: YamlMaps): YAMLMap {
  if (yaml.root.get('kind') !== 'ClusterConfiguration') throw invalid(`${WHERE}: expected kind ClusterConfiguration`);
  return yaml.map(yaml.root, 'apiServer');
}

function addVolume(yaml: YamlMaps, server: YAMLMap, { name, path, type }: HostDirectory): boolean {
  const mounted = yaml.maps(server, 'extraVolumes').find((one) => textIn(one, 'mountPath') === path);
  if (mounted && textIn(mounted, 'hostPath') === path) return false;
  if (mounted) throw invalid(`${WHERE}: something other than the host's ${path} is mounted at ${path}`);
  removeFrom(yaml.list(server, 'extraVolumes'), (item) => isNamed(item, name));
  const volume = { name, hostPath: path, mountPath: path, readOnly: true, pathType: type };
  yaml.insert(server, 'extraVolumes', volume, 'name');
  return true;
}

function setFlag(yaml: YamlMaps, server: YAMLMap, name: string, value: string): boolean {
  if (/v1beta[123]$/.test(textIn(yaml.root, 'apiVersion') ?? '')) {
    const flags = yaml.map(server, 'extraArgs');
    if (textIn(flags, name) === value) return false;
    flags.set(name, value);
    return true;
  }
  const found = yaml.maps(server, 'extraArgs').filter((flag) => isNamed(flag, name));
  if (found.length === 1 && textIn(found[0]!, 'value') === value) return false;
  removeFrom(yaml.list(server, 'extraArgs'), (item) => isNamed(item, name));
  yaml.insert(server, 'extraArgs', { name, value }, 'name');
  return true;
}
