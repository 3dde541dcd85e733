import { isMap, isSeq, stringify } from 'yaml';
import type { YAMLMap, YAMLSeq } from 'yaml';
import { kmsProvider } from '../config/kms-provider.ts';
import { editYaml, invalid, readMaps, removeFrom, textIn } from './edit-yaml.ts';
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
  return providers.every(isIdentity);
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

/** The entry that has the plugin: what it encrypts, and its providers in their order. `undefined`: it has none. */
export function entryOf(
  text: string,
  where: string,
  name: string,
): { readonly resources: readonly string[]; readonly providers: readonly string[] } | undefined {
  const yaml = readMaps(text, where);
  const entry = entriesOf(yaml).find((one) => indexOfKms(providersOf(yaml, one), name) >= 0);
  if (!entry) return undefined;
  const resources = namesIn(entry).filter((one) => typeof one === 'string');
  return { resources, providers: providersOf(yaml, entry).items.map(labelOf) };
}

/**
 * Puts `identity` among the providers of the plugin's entry, so that data is written in plain text, or can be read.
 * @throws as {@link positionOf}
 */
export function withIdentity(text: string, where: string, name: string, position: 'reads' | 'writes'): string {
  return editProviders(text, where, name, (providers, yaml) => {
    const at = providers.items.findIndex(isIdentity);
    if (at === 0 || (at > 0 && position === 'reads')) return false;
    const [found = yaml.document.createNode({ identity: {} })] = at < 0 ? [] : providers.items.splice(at, 1);
    providers.items.splice(position === 'writes' ? 0 : providers.items.length, 0, found);
    return true;
  });
}

/** Removes every provider but the plugin and `identity`. @throws as {@link positionOf} */
export function withoutOthers(text: string, where: string, name: string): string {
  return editProviders(text, where, name, (providers) =>
    removeFrom(providers, (item) => labelOf(item) !== name && !isIdentity(item)),
  );
}

/** Removes the plugin from the providers. @throws as {@link positionOf} */
export function withoutProvider(text: string, where: string, name: string): string {
  return editProviders(text, where, name, (providers, yaml) => {
    providers.items.splice(indexOfKms(providers, name), 1);
    if (providers.items.length === 0) providers.items.push(yaml.document.createNode({ identity: {} }));
    return true;
  });
}

/** Changes the providers that the plugin is one of. */
function editProviders(
  text: string,
  where: string,
  name: string,
  edit: (providers: YAMLSeq, yaml: YamlMaps) => boolean,
): string {
  return editYaml(text, where, (yaml) => {
    const found = providersIn(yaml).find((providers) => indexOfKms(providers, name) >= 0);
    return found !== undefined && edit(found, yaml);
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

const isIdentity = (item: unknown): boolean => isMap(item) && item.has('identity');

/** The name of a KMS provider, or the kind of another one: `aescbc`. */
function labelOf(item: unknown): string {
  if (!isMap(item)) return '';
  const kms = item.get('kms');
  return (
    (isMap(kms) ? textIn(kms, 'name') : undefined) ??
    String((item.items[0]?.key as { value?: unknown } | undefined)?.value)
  );
}

function indexOfKms({ items }: YAMLSeq, name: string): number {
  return items.findIndex((item) => {
    const kms = isMap(item) ? item.get('kms') : undefined;
    return isMap(kms) && textIn(kms, 'name') === name;
  });
}
