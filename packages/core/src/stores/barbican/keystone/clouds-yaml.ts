import { LineCounter, parseDocument } from 'yaml';
import { unavailable } from '../../../errors.ts';
import type { Fields } from './cloud.ts';

type Tree = { readonly [name: string]: Tree | string | undefined };

/**
 * Reads one cloud of a clouds.yaml and secure.yaml, as python-openstackclient does. A scalar is the text in the file: a password of
 * digits stays a text.
 *
 * @param cloud - its name. Not needed if the file has only one
 * @param where - the file, for errors
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` with the line number of a syntax error, but not the line: it may hold a password
 */
export function fieldsOfCloudsYaml(
  text: string,
  secureText: string | undefined,
  cloud: string | undefined,
  where: string,
): Fields {
  const clouds = treeOf(parseTree(text, where)['clouds']) ?? {};
  const secure =
    treeOf(secureText === undefined ? {} : parseTree(secureText, `${where} (secure.yaml)`)['clouds']) ?? {};
  const names = Object.keys(clouds);
  const name = cloud ?? (names.length === 1 ? names[0]! : undefined);
  const found = name === undefined ? undefined : treeOf(clouds[name]);
  if (name === undefined || !found) {
    const what = name === undefined ? 'no cloud is named' : `no cloud ${JSON.stringify(name)}`;
    throw unavailable(`${where}: ${what}; there are: ${names.join(', ') || 'none'}`, {
      remedy: 'set cloud: { name: ... } to a cloud of this file',
    });
  }
  const own = merge(found, treeOf(secure[name]) ?? {});
  const all = { ...own, ...treeOf(own['auth']) };
  const get = (key: string) => (typeof all[key] === 'string' ? all[key] : undefined);
  const verify = get('verify');
  const insecure = verify ? String(/^(false|no|off|0)$/i.test(verify)) : get('insecure');
  return (key) => (key === 'insecure' ? insecure : get(key));
}

function parseTree(text: string, where: string): Tree {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, schema: 'failsafe', merge: true, prettyErrors: false });
  const [error] = document.errors;
  if (error) throw unavailable(`${where}:${lines.linePos(error.pos[0]).line}: not YAML`);
  try {
    return treeOf(document.toJS({ maxAliasCount: 100 })) ?? {};
  } catch {
    throw unavailable(`${where}: too many aliases`);
  }
}

function treeOf(value: unknown): Tree | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Tree) : undefined;
}

function merge(under: Tree, over: Tree): Tree {
  const entries = Object.entries(over).map(([name, value]) => {
    const [below, above] = [treeOf(under[name]), treeOf(value)];
    return [name, below && above ? merge(below, above) : value] as const;
  });
  return { ...under, ...Object.fromEntries(entries) };
}
