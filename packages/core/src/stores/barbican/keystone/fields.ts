/**
 * What each field is called in a clouds.yaml, by its older names too. In capitals and with OS_ in front these are the environment's
 * names, with dashes cloud.conf's.
 */
const NAMES = {
  /** `password`, `v3applicationcredential`, `v3token`, ...; where it is left out, the other fields say which. */
  authType: ['auth_type'],
  authUrl: ['auth_url'],
  userId: ['user_id'],
  username: ['username', 'user_name'],
  password: ['password'],
  userDomainId: ['user_domain_id'],
  userDomainName: ['user_domain_name'],
  projectId: ['project_id', 'tenant_id'],
  projectName: ['project_name', 'tenant_name'],
  projectDomainId: ['project_domain_id', 'tenant_domain_id'],
  projectDomainName: ['project_domain_name', 'tenant_domain_name'],
  /** For users and projects that have no domain of their own above; alone, a domain as the scope. */
  domainId: ['domain_id', 'default_domain'],
  domainName: ['domain_name'],
  trustId: ['trust_id'],
  applicationCredentialId: ['application_credential_id'],
  applicationCredentialName: ['application_credential_name'],
  applicationCredentialSecret: ['application_credential_secret'],
  token: ['token', 'auth_token'],
  region: ['region_name', 'region'],
  interface: ['interface', 'endpoint_type', 'os_endpoint_type'],
  /** URL of the key manager, in place of the catalog's. */
  keyManagerEndpoint: ['key_manager_endpoint_override'],
  caFile: ['cacert', 'ca_file'],
  certFile: ['cert', 'cert_file'],
  keyFile: ['key', 'key_file'],
} satisfies Record<string, readonly string[]>;

/**
 * What one needs to log in to a cloud, as it may be given in any of the usual places: `cloud.conf`, `clouds.yaml`, OS_* variables,
 * our own settings. All of it is optional here; `cloudOf` says what is missing.
 */
export interface CloudFields extends Partial<Record<keyof typeof NAMES, string | undefined>> {
  /** Certificates are not checked. */
  insecure?: boolean | undefined;
}

/** @param get - the value of a name, if there is one; what is empty is as if it were not there */
export function fieldsOf(get: (name: string) => string | undefined): CloudFields {
  const found = Object.entries(NAMES).map(([field, names]) => [field, names.map(get).find((value) => value)] as const);
  return Object.fromEntries(found);
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** OS_* variables, as `openstack` and an openrc file have them. */
export function fieldsOfEnvironment(environment: Environment): CloudFields {
  const insecure = environment['OS_INSECURE'];
  return {
    ...fieldsOf((name) => environment[`OS_${name.toUpperCase()}`]),
    ...(insecure && { insecure: isTrue(insecure) }),
  };
}

/** `over` with what it lacks taken from `under`. */
export function mergeFields(over: CloudFields, under: CloudFields): CloudFields {
  const given = Object.entries(over).filter(([, value]) => value !== undefined && value !== '');
  return { ...under, ...Object.fromEntries(given) };
}

export const isTrue = (text: string): boolean => /^(true|yes|on|1|t)$/i.test(text);
