import { KmsError } from '../../../errors.ts';
import type { CloudFields } from './fields.ts';

export type Interface = 'public' | 'internal' | 'admin';

/** A cloud that can be logged in to. Holds a secret: never to be printed. */
export interface Cloud {
  /** Ends with `/v3`. */
  readonly authUrl: string;
  /** The `auth` of `POST /v3/auth/tokens` (Identity API v3, "Authentication and token management"). */
  readonly auth: object;
  /** For a person, e.g. `application credential 1f..`. */
  readonly credential: string;
  readonly region: string | undefined;
  readonly interface: Interface;
  readonly keyManagerEndpoint: string | undefined;
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly insecure: boolean;
}

/**
 * @param where - what errors name: a file, the environment
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` that says what is missing
 */
export function cloudOf(fields: CloudFields, where: string): Cloud {
  const { authUrl, region, caFile, certFile, keyFile, insecure = false } = fields;
  if (!authUrl) throw wrong(where, 'no auth URL');
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw wrong(where, 'a client certificate needs both its certificate and its key file');
  }
  return {
    authUrl: withV3(authUrl, where),
    ...authOf(fields, where),
    region,
    interface: interfaceOf(fields.interface, where),
    keyManagerEndpoint: fields.keyManagerEndpoint && urlOf(fields.keyManagerEndpoint, where),
    caFile,
    certFile,
    keyFile,
    insecure,
  };
}

function authOf(fields: CloudFields, where: string): Pick<Cloud, 'auth' | 'credential'> {
  const method = methodOf(fields);
  if (method === 'application_credential') {
    const {
      applicationCredentialId: id,
      applicationCredentialName: name,
      applicationCredentialSecret: secret,
    } = fields;
    if (!secret) throw wrong(where, 'no secret of the application credential');
    if (!id && !name) throw wrong(where, 'no id of the application credential');
    const which = id ? { id } : { name, user: userOf(fields, where) };
    // Its scope is its own: Keystone refuses one beside it.
    const identity = { methods: ['application_credential'], application_credential: { ...which, secret } };
    return { auth: { identity }, credential: `application credential ${id ?? name!}` };
  }
  if (method === 'token') {
    if (!fields.token) throw wrong(where, 'no token');
    const scope = scopeOf(fields);
    return {
      auth: { identity: { methods: ['token'], token: { id: fields.token } }, ...(scope && { scope }) },
      credential: 'a token',
    };
  }
  if (!fields.password) throw wrong(where, 'no password, application credential or token');
  const user = userOf(fields, where);
  const scope = scopeOf(fields);
  const identity = { methods: ['password'], password: { user: { ...user, password: fields.password } } };
  return { auth: { identity, ...(scope && { scope }) }, credential: `user ${fields.userId ?? fields.username!}` };
}

function methodOf({ authType, ...fields }: CloudFields): 'application_credential' | 'token' | 'password' {
  if (authType) {
    if (/application_?credential/.test(authType)) return 'application_credential';
    return authType.includes('token') ? 'token' : 'password';
  }
  if (fields.applicationCredentialSecret) return 'application_credential';
  return fields.password === undefined && fields.token ? 'token' : 'password';
}

function userOf(fields: CloudFields, where: string): object {
  if (fields.userId) return { id: fields.userId };
  if (!fields.username) throw wrong(where, 'no user');
  const id = fields.userDomainId ?? (fields.userDomainName ? undefined : fields.domainId);
  return { name: fields.username, domain: domainOf(id, fields.userDomainName ?? fields.domainName) };
}

function scopeOf(fields: CloudFields): object | undefined {
  if (fields.trustId) return { 'OS-TRUST:trust': { id: fields.trustId } };
  if (fields.projectId) return { project: { id: fields.projectId } };
  if (fields.projectName) {
    const id = fields.projectDomainId ?? (fields.projectDomainName ? undefined : fields.domainId);
    return {
      project: { name: fields.projectName, domain: domainOf(id, fields.projectDomainName ?? fields.domainName) },
    };
  }
  if (fields.domainId || fields.domainName) return { domain: domainOf(fields.domainId, fields.domainName) };
  // Keystone then takes the user's default project, and a token its own scope.
  return undefined;
}

function domainOf(id: string | undefined, name: string | undefined): object {
  if (id) return { id };
  return name ? { name } : { id: 'default' };
}

function interfaceOf(text: string | undefined, where: string): Interface {
  const name = text?.replace(/URL$/, '') ?? 'public';
  if (name === 'public' || name === 'internal' || name === 'admin' || name === '') return name || 'public';
  throw wrong(where, `expected public, internal or admin as the interface, found ${JSON.stringify(text)}`);
}

function withV3(text: string, where: string): string {
  const url = urlOf(text, where).replace(/\/(v2\.0|v3)$/, '');
  return `${url}/v3`;
}

/** @returns without a slash at its end */
function urlOf(text: string, where: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw wrong(where, 'expected an http or https URL without a user in it');
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

function wrong(where: string, what: string): KmsError {
  return new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${where}: ${what}`);
}
