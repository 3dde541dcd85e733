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
  readonly keyManagerEndpoint: string | undefined;
}

/** Names of keystoneauth's plugins. All others need a second factor, a browser or a ticket. */
const METHODS = {
  password: /^(v[23])?password$/,
  token: /^(v[23])?token$/,
  application_credential: /^(v3)?application_?credential$/,
};

/**
 * @param places - the first that has a field decides
 * @param where - the file or the environment, for errors
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` that says what is missing or not supported
 */
export function cloudOf(places: readonly Fields[], where: string): Cloud {
  return new CloudReader(places, where).cloud();
}

/** A name may be followed by older names of the same field. */
class CloudReader {
  readonly #places: readonly Fields[];
  readonly #where: string;

  constructor(places: readonly Fields[], where: string) {
    this.#places = places;
    this.#where = where;
  }

  cloud(): Cloud {
    const authUrl = this.#require('no auth URL', 'auth_url');
    const [certFile, keyFile] = [this.#path('cert', 'cert_file'), this.#path('key', 'key_file')];
    if ((certFile === undefined) !== (keyFile === undefined)) {
      throw this.#wrong('a client certificate needs both its certificate and its key file');
    }
    const endpoint = this.#get('key_manager_endpoint_override');
    return {
      authUrl: `${this.#url(authUrl).replace(/\/(v2\.0|v3)$/, '')}/v3`,
      ...this.#auth(),
      region: this.#get('region_name', 'region'),
      interface: this.#interface(),
      keyManagerEndpoint: endpoint && this.#url(endpoint),
      caFile: this.#path('cacert', 'ca_file'),
      certFile,
      keyFile,
      insecure: isTrue(this.#get('insecure') ?? ''),
    };
  }

  #auth(): Pick<Cloud, 'auth' | 'credential'> {
    const method = this.#method();
    if (method === 'application_credential') {
      const secret = this.#require('no secret of the application credential', 'application_credential_secret');
      const id = this.#get('application_credential_id');
      const name = id ?? this.#require('no id of the application credential', 'application_credential_name');
      const which = id ? { id } : { name, user: this.#user() };
      // It has a scope of its own. Keystone refuses a second one.
      const identity = { methods: [method], application_credential: { ...which, secret } };
      return { auth: { identity }, credential: `application credential ${name}` };
    }
    const scope = this.#scope();
    if (method === 'token') {
      const identity = { methods: [method], token: { id: this.#require('no token', 'token', 'auth_token') } };
      return { auth: { identity, ...(scope && { scope }) }, credential: 'a token' };
    }
    const password = this.#require('no password, application credential or token', 'password');
    const user = this.#user();
    const identity = { methods: [method], password: { user: { ...user, password } } };
    return { auth: { identity, ...(scope && { scope }) }, credential: `user ${user.id ?? user.name}` };
  }

  #method(): keyof typeof METHODS {
    const type = this.#get('auth_type');
    if (type === undefined) {
      if (this.#get('application_credential_secret')) return 'application_credential';
      return !this.#get('password') && this.#get('token', 'auth_token') ? 'token' : 'password';
    }
    const found = (Object.keys(METHODS) as (keyof typeof METHODS)[]).find((name) => METHODS[name].test(type));
    if (found) return found;
    const remedy = 'use an application credential (v3applicationcredential), a password or a token';
    throw this.#wrong(`auth_type ${JSON.stringify(safeText(type, 50))} is not supported`, remedy);
  }

  #user(): { readonly id?: string; readonly name?: string; readonly domain?: object } {
    const id = this.#get('user_id');
    if (id) return { id };
    return { name: this.#require('no user', 'username', 'user_name'), domain: this.#domain('user') };
  }

  #scope(): object | undefined {
    const trust = this.#get('trust_id');
    if (trust) return { 'OS-TRUST:trust': { id: trust } };
    const id = this.#get('project_id', 'tenant_id');
    if (id) return { project: { id } };
    const name = this.#get('project_name', 'tenant_name');
    if (name) return { project: { name, domain: this.#domain('project', 'tenant') } };
    // Without any, Keystone takes the user's default project, and for a token its own scope.
    return this.#get('domain_id', 'default_domain', 'domain_name') ? { domain: this.#domain() } : undefined;
  }

  /** The domain of a user or project: its own, or the one for both, or Keystone's default. */
  #domain(...owners: readonly string[]): object {
    const ownId = this.#get(...owners.map((owner) => `${owner}_domain_id`));
    const ownName = this.#get(...owners.map((owner) => `${owner}_domain_name`));
    const id = ownId ?? (ownName ? undefined : this.#get('domain_id', 'default_domain'));
    if (id) return { id };
    const name = ownName ?? this.#get('domain_name');
    return name ? { name } : { id: 'default' };
  }

  #interface(): Interface {
    const name = this.#get('interface', 'endpoint_type', 'os_endpoint_type')?.replace(/URL$/, '') ?? 'public';
    if (name === 'public' || name === 'internal' || name === 'admin') return name;
    throw this.#wrong(
      `expected public, internal or admin as the interface, found ${JSON.stringify(safeText(name, 50))}`,
    );
  }

  /** @returns the URL without a slash at its end */
  #url(text: string): string {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
      throw this.#wrong('expected an http or https URL without a user in it');
    }
    return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
  }

  /** Expands a tilde, as python-openstackclient does. */
  #path(...names: readonly string[]): string | undefined {
    return this.#get(...names)?.replace(/^~(?=\/)/, () => homedir());
  }

  #require(what: string, ...names: readonly string[]): string {
    const found = this.#get(...names);
    if (found) return found;
    throw this.#wrong(what);
  }

  #get(...names: readonly string[]): string | undefined {
    return this.#places.flatMap((fields) => names.map(fields)).find(Boolean);
  }

  #wrong(what: string, remedy = `correct the login in ${this.#where}`): KmsError {
    return unavailable(`${this.#where}: ${what}`, { remedy });
  }
}

export const isTrue = (text: string): boolean => /^(true|yes|on|1|t)$/i.test(text);
