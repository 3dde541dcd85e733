import { formatProblems, KmsError, readYaml } from '@teapot-kms/core';
import { isMap, isNode, isScalar, isSeq, visit } from 'yaml';
import type { Document, LineCounter, YAMLMap, YAMLSeq } from 'yaml';

/**
 * Changes a YAML text and keeps the rest of it: comments, order, quotes, and how it is indented.
 * @param where - what an error names: the file
 * @param edit - changes the document. The text stays the same to the byte if it returns `false`
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST` for what is no YAML document with a map. It shows no value
 */
export function editYaml(text: string, where: string, edit: (yaml: YamlMaps) => boolean): string {
  const yaml = readMaps(text, where);
  const style = styleOf(yaml, text);
  return edit(yaml) ? yaml.document.toString(style) : text;
}

/** Reads a YAML text as a map. @throws as {@link editYaml} */
export function readMaps(text: string, where: string): YamlMaps {
  const { document, lines, problems } = readYaml(text, { stringKeys: true, version: '1.2' });
  // A parser's message may repeat a piece of the text, which may be a key.
  if (problems) throw invalid(formatProblems(where, [{ line: problems[0]!.line, path: '', message: 'expected YAML' }]));
  visit(document, {
    Alias() {
      throw invalid(`${where}: aliases (*name) are not supported`);
    },
  });
  if (!isMap(document.contents)) throw invalid(`${where}: expected a map`);
  return new YamlMaps(document, document.contents, lines, where);
}

export const invalid = (message: string, remedy = 'correct the file, and run the command again'): KmsError =>
  new KmsError('ERR_KMS_INVALID_REQUEST', message, { remedy });

/** A YAML document of maps and lists of maps. Its methods throw as {@link editYaml} for anything else. */
export class YamlMaps {
  readonly document: Document;
  readonly root: YAMLMap;
  readonly lines: LineCounter;
  readonly where: string;

  constructor(document: Document, root: YAMLMap, lines: LineCounter, where: string) {
    this.document = document;
    this.root = root;
    this.lines = lines;
    this.where = where;
  }

  /** The list at `key`, made if it is missing. */
  list(map: YAMLMap, key: string): YAMLSeq {
    const found = ownNode(map, key);
    if (isSeq(found)) return asBlock(found);
    if (found !== undefined) throw invalid(`${this.where}: expected a list at ${key}`);
    const made = this.document.createNode([]) as YAMLSeq;
    map.set(key, made);
    return asBlock(made);
  }

  /** The map at `key`, made if it is missing. */
  map(map: YAMLMap, key: string): YAMLMap {
    const found = ownNode(map, key);
    if (isMap(found)) return asBlock(found);
    if (found !== undefined) throw invalid(`${this.where}: expected a map at ${key}`);
    const made = this.document.createNode({}) as YAMLMap;
    map.set(key, made);
    return asBlock(made);
  }

  /** The maps in the list at `key`. None, if there is no list. */
  maps(map: YAMLMap, key: string): YAMLMap[] {
    const list = ownNode(map, key);
    if (list === undefined) return [];
    if (!isSeq(list) || !list.items.every(isMap)) throw invalid(`${this.where}: expected a list of maps at ${key}`);
    return list.items;
  }

  /** Adds a map to the list at `key`. It takes its place in the order of `by` if the list is sorted, else the last one. */
  insert(map: YAMLMap, key: string, item: Readonly<Record<string, unknown>>, by: string): void {
    const names = this.maps(map, key).map((one) => textIn(one, by) ?? '');
    this.list(map, key).items.splice(placeFor(names, String(item[by])), 0, this.document.createNode(item));
  }
}

/** A text in a map; `undefined` for anything else. */
export function textIn(map: YAMLMap, key: string): string | undefined {
  const value = map.get(key);
  return typeof value === 'string' ? value : undefined;
}

/** Removes what is unwanted from a list. @returns whether there was something */
export function removeFrom(list: YAMLSeq, unwanted: (item: unknown) => boolean): boolean {
  const before = list.items.length;
  list.items = list.items.filter((item) => !unwanted(item));
  return list.items.length < before;
}

/** Whether an item of a list is a map with one of the names. */
export const isNamed = (item: unknown, ...names: readonly string[]): boolean =>
  isMap(item) && names.includes(textIn(item, 'name') ?? '');

/** Where something new belongs in a list: in its order if it is sorted, else at its end. @param from - first item of the order */
export function placeFor(names: readonly string[], name: string, from = 0): number {
  const sorted = names.every((one, index) => index <= from || names[index - 1]! <= one);
  const after = names.findIndex((one, index) => index >= from && one > name);
  return sorted && after >= 0 ? after : names.length;
}

/** An empty collection may be written as {} or []. What is added to it stands in lines of its own. */
function asBlock<T extends YAMLMap | YAMLSeq>(node: T): T {
  if (node.items.length === 0) node.flow = false;
  return node;
}

function ownNode(map: YAMLMap, key: string): unknown {
  const found = map.get(key, true);
  return found === undefined || (isScalar(found) && found.value === null) ? undefined : found;
}

/** How the text is written: the first block list and the first block map show it. */
function styleOf({ document, lines }: YamlMaps, text: string) {
  const column = (node: unknown): number => lines.linePos((isNode(node) && node.range?.[0]) || 0).col;
  let [indentSeq, indent] = [undefined, undefined] as [boolean | undefined, number | undefined];
  visit(document, {
    Pair(_, { key, value }) {
      if ((!isMap(value) && !isSeq(value)) || value.flow) return;
      const below = column(value) - column(key);
      if (isSeq(value)) indentSeq ??= below > 0;
      else if (below > 0) indent ??= below;
    },
  });
  return {
    lineWidth: 0,
    indent: indent ?? 2,
    // As kubeadm and kubectl write.
    indentSeq: indentSeq ?? false,
    flowCollectionPadding: !/[[{]\w/.test(text),
  };
}
