import { homedir } from 'node:os';
import { unavailable } from '../../../errors.ts';
import type { KmsError } from '../../../errors.ts';
import { safeText } from '../../../util/safe-text.ts';

/**
 * One place that a login may come from: the settings, a `cloud.conf`, a clouds.yaml, the environment. Returns the value of a field by its
 * name in a clouds.yaml, such as `auth_url`. An empty value counts as none.
 */
export type Fields = (name: string) => string | undefined;

export type Interface = 'public' | 'internal' | 'admin';

/** Files for TLS. They are read at each request, so that a renewed certificate is picked up. */
export interface TlsFiles {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly insecure?: boolean;
}

/** For the operator: somebody between the plugin and the cloud could read and change everything. */
export interface CloudEvent {
  readonly type: 'certificates-not-verified';
  /** Where the login comes from: a file, or the environment. */
  readonly where: string;
}

/** A cloud that the plugin can log in to. It holds a secret: never print it. */
export interface Cloud extends TlsFiles {
  /** Ends with `/v3`. */
  readonly authUrl: string;
  /** The `auth` of `POST /v3/auth/tokens` (Identity API v3, "Authentication and token management"). */
  readonly auth: object;
  /** For people, such as `application credential 1f...`. */
  readonly credential: string;
  readonly region: string | undefined;
  readonly interface: Interface;
  /** What no error may repeat. */
  readonly secrets: readonly (string | undefined)[];
  readonly keyManagerEndpoint: string | undefined;
}

/**
 * @param places - the first that has a field decides
 * @param where - the file or the environment, for errors
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` that says what is missing or not supported
 */
export function cloudOf(places: readonly Fields[], where: string): Cloud {
  const wrong = (what: string, remedy = `correct the login in ${where}`) =>
    unavailable(`${where}: ${what}`, { remedy });
  const get: Get = (...names) => places.flatMap((fields) => names.map(fields)).find(Boolean);
  const login: Login = {
    get,
    wrong,
    need(what, ...names) {
      const found = get(...names);
      if (found) return found;
      throw wrong(what);
    },
  };
  // A tilde means what it means to python-openstackclient.
  const path: Get = (...names) => get(...names)?.replace(/^~(?=\/)/, () => homedir());
  const authUrl = urlOf(login, login.need('no auth URL', 'auth_url')).replace(/\/(v2\.0|v3)$/, '');
  const [certFile, keyFile] = [path('cert', 'cert_file'), path('key', 'key_file')];
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw wrong('a client certificate needs both its certificate and its key file');
  }
  const endpoint = get('key_manager_endpoint_override');
  return {
    authUrl: `${authUrl}/v3`,
    ...authOf(login),
    secrets: [get('password'), get('application_credential_secret'), get('token', 'auth_token')],
    region: get('region_name', 'region'),
    interface: interfaceOf(login),
    keyManagerEndpoint: endpoint && urlOf(login, endpoint),
    caFile: path('cacert', 'ca_file'),
    certFile,
    keyFile,
    insecure: isTrue(get('insecure') ?? ''),
  };
}

/** The value of a field. Its name may be followed by older names of the same field. */
type Get = (...names: readonly string[]) => string | undefined;

interface Login {
  readonly get: Get;
  /** @throws an error that says `what` for a field that is missing */
  readonly need: (what: string, ...names: readonly string[]) => string;
  readonly wrong: (what: string, remedy?: string) => KmsError;
}

function authOf(login: Login): Pick<Cloud, 'auth' | 'credential'> {
  const method = methodOf(login);
  const { details, credential } = METHODS[method].read(login);
  // An application credential has a scope of its own. Keystone refuses a second one.
  const scope = method === 'application_credential' ? undefined : scopeOf(login.get);
  return { auth: { identity: { methods: [method], [method]: details }, ...(scope && { scope }) }, credential };
}

type Method = 'password' | 'token' | 'application_credential';

/** By names of keystoneauth's plugins. All others need a second factor, a browser or a ticket. */
const METHODS: Record<Method, { names: RegExp; read: (login: Login) => { details: object; credential: string } }> = {
  password: {
    names: /^(v[23])?password$/,
    read(login) {
      const password = login.need('no password, application credential or token', 'password');
      const user = userOf(login);
      return { details: { user: { ...user, password } }, credential: `user ${user.id ?? user.name}` };
    },
  },
  token: {
    names: /^(v[23])?token$/,
    read: ({ need }) => ({ details: { id: need('no token', 'token', 'auth_token') }, credential: 'a token' }),
  },
  application_credential: {
    names: /^(v3)?application_?credential$/,
    read(login) {
      const secret = login.need('no secret of the application credential', 'application_credential_secret');
      const id = login.get('application_credential_id');
      const name = id ?? login.need('no id of the application credential', 'application_credential_name');
      const which = id ? { id } : { name, user: userOf(login) };
      return { details: { ...which, secret }, credential: `application credential ${name}` };
    },
  },
};

function methodOf({ get, wrong }: Login): Method {
  const type = get('auth_type');
  if (type === undefined) {
    if (get('application_credential_secret')) return 'application_credential';
    return !get('password') && get('token', 'auth_token') ? 'token' : 'password';
  }
  const found = (Object.keys(METHODS) as Method[]).find((name) => METHODS[name].names.test(type));
  if (found) return found;
  const remedy = 'use an application credential (v3applicationcredential), a password or a token';
  throw wrong(`auth_type ${JSON.stringify(safeText(type, 50))} is not supported`, remedy);
}

function userOf({ get, need }: Login): { readonly id?: string; readonly name?: string; readonly domain?: object } {
  const id = get('user_id');
  return id ? { id } : { name: need('no user', 'username', 'user_name'), domain: domainOf(get, 'user') };
}

function scopeOf(get: Get): object | undefined {
  const trust = get('trust_id');
  if (trust) return { 'OS-TRUST:trust': { id: trust } };
  const id = get('project_id', 'tenant_id');
  if (id) return { project: { id } };
  const name = get('project_name', 'tenant_name');
  if (name) return { project: { name, domain: domainOf(get, 'project', 'tenant') } };
  // Without any, Keystone takes the user's default project, and for a token its own scope.
  return get('domain_id', 'default_domain', 'domain_name') ? { domain: domainOf(get) } : undefined;
}

/** The domain of a user or project: its own, or the one for both, or Keystone's default. */
function domainOf(get: Get, ...owners: readonly string[]): object {
  const ownId = get(...owners.map((owner) => `${owner}_domain_id`));
  const ownName = get(...owners.map((owner) => `${owner}_domain_name`));
  const id = ownId ?? (ownName ? undefined : get('domain_id', 'default_domain'));
  if (id) return { id };
  const name = ownName ?? get('domain_name');
  return name ? { name } : { id: 'default' };
}

function interfaceOf({ get, wrong }: Login): Interface {
  const name = get('interface', 'endpoint_type', 'os_endpoint_type')?.replace(/URL$/, '') ?? 'public';
  if (name === 'public' || name === 'internal' || name === 'admin') return name;
  throw wrong(`expected public, internal or admin as the interface, found ${JSON.stringify(safeText(name, 50))}`);
}

/** @returns the URL without a slash at its end */
function urlOf({ wrong }: Login, text: string): string {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw wrong('expected an http or https URL without a user in it');
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

export const isTrue = (text: string): boolean => /^(true|yes|on|1|t)$/i.test(text);
