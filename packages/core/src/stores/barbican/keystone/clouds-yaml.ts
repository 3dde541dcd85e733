import { unavailable } from '../../../errors.ts';
import { readYaml } from '../../../util/yaml-reader.ts';
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
  const clouds = cloudsOf(text, where);
  const secure = cloudsOf(secureText ?? '', `${where} (secure.yaml)`);
  const names = Object.keys(clouds);
  const name = cloud ?? (names.length === 1 ? names[0]! : undefined);
  if (name === undefined || !isTree(clouds[name])) {
    const what = name === undefined ? 'no cloud is named' : `no cloud ${JSON.stringify(name)}`;
    throw unavailable(`${where}: ${what}; there are: ${names.join(', ') || 'none'}`, {
      remedy: 'set cloud: { name: ... } to a cloud of this file',
    });
  }
  const [own, secret] = [clouds[name], treeOf(secure[name])];
  const all: Tree = { ...own, ...secret, ...treeOf(own['auth']), ...treeOf(secret['auth']) };
  const get = (key: string) => (typeof all[key] === 'string' ? all[key] : undefined);
  const verify = get('verify');
  const insecure = verify ? String(/^(false|no|off|0)$/i.test(verify)) : get('insecure');
  return (key) => (key === 'insecure' ? insecure : get(key));
}

function cloudsOf(text: string, where: string): Tree {
  const read = readYaml(text, { schema: 'failsafe', merge: true });
  if (read.problems) {
    const { line, message } = read.problems[0]!;
    throw unavailable(`${where}:${line}: ${read.exceeded ? message : 'not YAML'}`);
  }
  try {
    return treeOf(treeOf(read.document.toJS({ maxAliasCount: 100 }))['clouds']);
  } catch {
    throw unavailable(`${where}: too many aliases`);
  }
}

const treeOf = (value: unknown): Tree => (isTree(value) ? value : {});

const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value);
