import { LineCounter, parseDocument } from 'yaml';
import { KmsError } from '../errors.ts';
import type { CloudFields } from './cloud.ts';

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
  const auth = treeOf(own['auth']) ?? {};
  const of = (tree: Tree, ...keys: string[]): string | undefined => {
    const key = keys.find((one) => typeof tree[one] === 'string' && tree[one] !== '');
    return key === undefined ? undefined : (tree[key] as string);
  };
  const verify = of(own, 'verify');
  return {
    authType: of(own, 'auth_type'),
    authUrl: of(auth, 'auth_url'),
    userId: of(auth, 'user_id'),
    username: of(auth, 'username', 'user_name'),
    password: of(auth, 'password'),
    userDomainId: of(auth, 'user_domain_id'),
    userDomainName: of(auth, 'user_domain_name'),
    projectId: of(auth, 'project_id', 'tenant_id'),
    projectName: of(auth, 'project_name', 'tenant_name'),
    projectDomainId: of(auth, 'project_domain_id'),
    projectDomainName: of(auth, 'project_domain_name'),
    domainId: of(auth, 'domain_id', 'default_domain'),
    domainName: of(auth, 'domain_name'),
    trustId: of(auth, 'trust_id'),
    applicationCredentialId: of(auth, 'application_credential_id'),
    applicationCredentialName: of(auth, 'application_credential_name'),
    applicationCredentialSecret: of(auth, 'application_credential_secret'),
    token: of(auth, 'token'),
    region: of(own, 'region_name'),
    interface: of(own, 'interface', 'endpoint_type'),
    keyManagerEndpoint: of(own, 'key_manager_endpoint_override'),
    caFile: of(own, 'cacert'),
    certFile: of(own, 'cert'),
    keyFile: of(own, 'key'),
    insecure: verify === undefined ? undefined : /^(false|no|off|0)$/i.test(verify),
  };
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
