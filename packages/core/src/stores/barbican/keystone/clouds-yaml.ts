import { LineCounter, parseDocument } from 'yaml';
import { KmsError } from '../../../errors.ts';
import { fieldsOf } from './fields.ts';
import type { CloudFields } from './fields.ts';

type Tree = { readonly [name: string]: Tree | string | undefined };

/**
 * One cloud of a clouds.yaml, as python-openstackclient reads it, with what secure.yaml adds to it. Scalars are taken as they are
 * written: a password of digits is not a number.
 *
 * @param cloud - its name; may be left out where there is only one
 * @param where - what errors name
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, with the line of a syntax error and never with what stands there
 */
export function fieldsOfCloudsYaml(
  text: string,
  secureText: string | undefined,
  cloud: string | undefined,
  where: string,
): CloudFields {
  const clouds = treeOf(parseTree(text, where)['clouds']) ?? {};
  const secure =
    treeOf(secureText === undefined ? {} : parseTree(secureText, `${where} (secure.yaml)`)['clouds']) ?? {};
  const names = Object.keys(clouds);
  const name = cloud ?? (names.length === 1 ? names[0]! : undefined);
  if (name === undefined) {
    throw problem(where, `say which cloud; there are: ${names.join(', ') || 'none'}`);
  }
  const found = treeOf(clouds[name]);
  if (!found) throw problem(where, `no cloud ${JSON.stringify(name)}; there are: ${names.join(', ') || 'none'}`);
  const own = merge(found, treeOf(secure[name]) ?? {});
  const all = { ...own, ...treeOf(own['auth']) };
  const get = (key: string) => (typeof all[key] === 'string' ? all[key] : undefined);
  const verify = get('verify');
  return { ...fieldsOf(get), ...(verify && { insecure: /^(false|no|off|0)$/i.test(verify) }) };
}

function parseTree(text: string, where: string): Tree {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, schema: 'failsafe', merge: true, prettyErrors: false });
  const [error] = document.errors;
  if (error) throw problem(`${where}:${lines.linePos(error.pos[0]).line}`, 'not YAML');
  try {
    return treeOf(document.toJS({ maxAliasCount: 100 })) ?? {};
  } catch {
    throw problem(where, 'too many aliases');
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

function problem(where: string, what: string): KmsError {
  return new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${where}: ${what}`);
}
