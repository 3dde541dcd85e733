import type { CloudFields } from './cloud.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** OS_* variables, as `openstack` and an openrc file have them. */
export function fieldsOfEnvironment(environment: Environment): CloudFields {
  // What is empty is as if it were not there.
  const get = (...names: string[]) => names.map((name) => environment[name]).find((value) => value);
  return {
    authType: get('OS_AUTH_TYPE'),
    authUrl: get('OS_AUTH_URL'),
    userId: get('OS_USER_ID'),
    username: get('OS_USERNAME'),
    password: get('OS_PASSWORD'),
    userDomainId: get('OS_USER_DOMAIN_ID'),
    userDomainName: get('OS_USER_DOMAIN_NAME'),
    projectId: get('OS_PROJECT_ID', 'OS_TENANT_ID'),
    projectName: get('OS_PROJECT_NAME', 'OS_TENANT_NAME'),
    projectDomainId: get('OS_PROJECT_DOMAIN_ID'),
    projectDomainName: get('OS_PROJECT_DOMAIN_NAME'),
    domainId: get('OS_DOMAIN_ID', 'OS_DEFAULT_DOMAIN'),
    domainName: get('OS_DOMAIN_NAME'),
    trustId: get('OS_TRUST_ID'),
    applicationCredentialId: get('OS_APPLICATION_CREDENTIAL_ID'),
    applicationCredentialName: get('OS_APPLICATION_CREDENTIAL_NAME'),
    applicationCredentialSecret: get('OS_APPLICATION_CREDENTIAL_SECRET'),
    token: get('OS_TOKEN', 'OS_AUTH_TOKEN'),
    region: get('OS_REGION_NAME'),
    interface: get('OS_INTERFACE', 'OS_ENDPOINT_TYPE'),
    keyManagerEndpoint: get('OS_KEY_MANAGER_ENDPOINT_OVERRIDE'),
    caFile: get('OS_CACERT'),
    certFile: get('OS_CERT'),
    keyFile: get('OS_KEY'),
    insecure: get('OS_INSECURE') === undefined ? undefined : /^(true|yes|on|1)$/i.test(get('OS_INSECURE')!),
  };
}
