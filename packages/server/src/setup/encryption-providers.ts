import { isMap, isSeq, stringify } from 'yaml';
import type { YAMLMap, YAMLSeq } from 'yaml';
import { kmsProvider } from '../config/kms-provider.ts';
import { editYaml, invalid, readMaps, textIn } from './edit-yaml.ts';
import type { YamlMaps } from './edit-yaml.ts';

/** The plugin as a provider of an EncryptionConfiguration. */
export interface KmsProvider {
  readonly name: string;
  /** Path of the plugin's socket. */
  readonly socket: string;
}

/** `reads`: another provider writes. `writes`: it is the first one. */
export type Position = 'absent' | 'reads' | 'writes';

/** @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST` for what is no EncryptionConfiguration. It shows no value */
export function positionOf(text: string | undefined, where: string, name: string): Position {
  if (text === undefined) return 'absent';
  const at =
    providersIn(readMaps(text, where))
      .map((one) => indexOfKms(one, name))
      .find((index) => index >= 0) ?? -1;
  return at < 0 ? 'absent' : at === 0 ? 'writes' : 'reads';
}

/** Whether nothing is encrypted any more. @throws as {@link positionOf} */
export function isOnlyIdentity(text: string, where: string): boolean {
  const providers = providersIn(readMaps(text, where)).flatMap(({ items }) => items);
  return providers.every((item) => isMap(item) && item.has('identity'));
}

/**
 * Puts the plugin among the providers of an EncryptionConfiguration. Those that are there stay, with their keys and comments.
 * @param text - `undefined`: there is none yet, and Secrets are stored in plain text
 * @param position - `reads`: after the provider that writes now
 * @throws as {@link positionOf}, also where the resources have different providers
 */
export function withProvider(
  text: string | undefined,
  where: string,
  { name, socket }: KmsProvider,
  resources: readonly string[],
  position: 'reads' | 'writes',
): string {
  const kms = kmsProvider({ name, socket, version: 'v2' });
  if (text === undefined) return newConfiguration(kms, resources, position);
  return editYaml(text, where, (yaml) => {
    const { document, root } = yaml;
    const entry = entryFor(entriesOf(yaml), resources, where);
    if (!entry) {
      const providers = position === 'writes' ? [{ kms }, { identity: {} }] : [{ identity: {} }, { kms }];
      yaml.list(root, 'resources').items.push(document.createNode({ resources, providers }));
      return true;
    }
    const providers = providersOf(yaml, entry);
    const at = indexOfKms(providers, name);
    const found = at < 0 ? document.createNode({ kms }) : (providers.items[at] as YAMLMap);
    checkEndpoint(found, kms.endpoint, where);
    if (at >= 0 && at > 0 === (position === 'reads')) return false;
    if (at >= 0) providers.items.splice(at, 1);
    if (providers.items.length === 0) providers.items.push(document.createNode({ identity: {} }));
    providers.items.splice(position === 'writes' ? 0 : 1, 0, found);
    return true;
  });
}

/** Removes the plugin from the providers. @throws as {@link positionOf} */
export function withoutProvider(text: string, where: string, name: string): string {
  return editYaml(text, where, (yaml) => {
    const found = providersIn(yaml).find((providers) => indexOfKms(providers, name) >= 0);
    if (!found) return false;
    found.items.splice(indexOfKms(found, name), 1);
    if (found.items.length === 0) found.items.push(yaml.document.createNode({ identity: {} }));
    return true;
  });
}

function newConfiguration(kms: object, resources: readonly string[], position: 'reads' | 'writes'): string {
  const providers = position === 'writes' ? [{ kms }, { identity: {} }] : [{ identity: {} }, { kms }];
  const entries = [{ resources, providers }];
  return stringify({ apiVersion: 'apiserver.config.k8s.io/v1', kind: 'EncryptionConfiguration', resources: entries });
}

/** The entry that the resources have in common; `undefined` where none of them has one. */
function entryFor(entries: readonly YAMLMap[], resources: readonly string[], where: string): YAMLMap | undefined {
  const own = resources.map((resource) => entries.find((entry) => covers(namesIn(entry), resource)));
  if (own.every((entry) => entry === own[0])) return own[0];
  throw invalid(
    `${where}: ${resources.join(', ')} are in different entries, and a KMS provider can be in only one`,
    'name resources of one entry with --resource',
  );
}

const namesIn = (entry: YAMLMap): readonly unknown[] => {
  const names = entry.get('resources');
  return isSeq(names) ? names.items.map((item) => (item as { value?: unknown }).value) : [];
};

/** As kube-apiserver takes the first entry for a resource: `secrets`, `deployments.apps`, `*.apps`, `*.`, `*.*`. */
function covers(names: readonly unknown[], resource: string): boolean {
  const group = resource.slice(`${resource}.`.indexOf('.') + 1);
  return [resource, `*.${group}`, '*.*'].some((one) => names.includes(one));
}

function checkEndpoint(provider: YAMLMap, endpoint: string, where: string): void {
  const kms = provider.get('kms') as YAMLMap;
  if (textIn(kms, 'endpoint') === endpoint && textIn(kms, 'apiVersion') === 'v2') return;
  throw invalid(
    `${where}: provider ${textIn(kms, 'name')} has another endpoint or apiVersion than ${endpoint} and v2`,
    'name another instance with --instance, or correct that provider',
  );
}

function entriesOf(yaml: YamlMaps): YAMLMap[] {
  if (yaml.root.get('kind') !== 'EncryptionConfiguration')
    throw invalid(`${yaml.where}: expected kind EncryptionConfiguration`);
  return yaml.maps(yaml.root, 'resources');
}

function providersOf(yaml: YamlMaps, entry: YAMLMap): YAMLSeq {
  yaml.maps(entry, 'providers');
  return yaml.list(entry, 'providers');
}

const providersIn = (yaml: YamlMaps): YAMLSeq[] => entriesOf(yaml).map((entry) => providersOf(yaml, entry));

function indexOfKms({ items }: YAMLSeq, name: string): number {
  return items.findIndex((item) => {
    const kms = isMap(item) ? item.get('kms') : undefined;
    return isMap(kms) && textIn(kms, 'name') === name;
  });
}
