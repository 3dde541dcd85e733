import { blobName, MANIFEST_NAME, parseManifest } from '../../keyset/manifest.ts';
import type { Finding } from '../../finding.ts';
import type { ApiServer } from './api-server.ts';
import { refuseOwnCluster, UNCHECKED } from './guard.ts';
import { parseSecret } from './protobuf.ts';
import type { SecretObject } from './protobuf.ts';
import { getSecret, uriOf } from './secret-name.ts';
import type { SecretName } from './secret-name.ts';

/** What `doctor` says of a Secret beyond whether it can be loaded. */
export async function examineSecret(
  api: ApiServer,
  secret: SecretName,
  served: string | undefined,
  signal: AbortSignal,
): Promise<Finding[]> {
  const remarks = [await examineGuard(api, served)];
  try {
    remarks.push(...(await examineRights(api, secret, signal)), ...(await examineData(api, secret, signal)));
  } catch {
    // The load says what is wrong.
  }
  return remarks;
}

async function examineGuard(api: ApiServer, served: string | undefined): Promise<Finding> {
  if (served === UNCHECKED) {
    const text =
      'whether this Secret is in the cluster that the instance serves is not checked ("serves" is "unchecked")';
    return { level: 'hint', text, remedy: 'set "serves" to the sha256 of the served cluster\'s CA' };
  }
  try {
    refuseOwnCluster(served, (await api.credentials()).ca);
    return { level: 'ok', text: `the Secret's cluster is another one than that with the CA ${served ?? ''}` };
  } catch (error) {
    const { message } = error as Error;
    return { level: 'problem', text: message, remedy: message };
  }
}

interface Review {
  readonly status?: { readonly allowed?: boolean };
}

/** Asks what the credentials may do: too little, and changes come late; too much, and a thief of them has it too. */
async function examineRights(api: ApiServer, { namespace, name }: SecretName, signal: AbortSignal): Promise<Finding[]> {
  const may = async (verb: string, one?: string): Promise<boolean> => {
    const resourceAttributes = { namespace, verb, resource: 'secrets', version: 'v1', ...(one && { name: one }) };
    const kind = { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview' };
    const bytes = Buffer.from(JSON.stringify({ ...kind, spec: { resourceAttributes } }));
    const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
    const body = { type: 'application/json', bytes };
    const answer = await api.request({ method: 'POST', path, accept: 'application/json', body, signal });
    return (JSON.parse(answer.body.toString('utf8')) as Review).status?.allowed === true;
  };
  const role = 'give the plugin a Role with verbs get and watch on this one Secret (docs/tenant-control-planes.md)';
  const remarks: Finding[] = [];
  if (!(await may('watch', name))) {
    const text = 'the credentials may not watch this Secret: a change is seen at the next probe only';
    remarks.push({ level: 'problem', text, remedy: role });
  }
  if (await may('get')) {
    const text = `the credentials may read every Secret of namespace ${namespace}, not only this one`;
    remarks.push({ level: 'hint', text, remedy: role });
  }
  if ((await may('update', name)) || (await may('patch', name))) {
    const text = 'the credentials may change this Secret; the plugin only reads it';
    remarks.push({ level: 'hint', text, remedy: role });
  }
  return remarks;
}

async function examineData(api: ApiServer, name: SecretName, signal: AbortSignal): Promise<Finding[]> {
  const { status, body } = await api.request(getSecret(name, signal));
  if (status !== 200) return [];
  const secret = parseSecret(body);
  try {
    return [...appliedCopy(secret, name), ...leftovers(secret, name)];
  } finally {
    secret.wipe();
  }
}

function appliedCopy({ hasAppliedCopy }: SecretObject, { namespace, name }: SecretName): Finding[] {
  if (!hasAppliedCopy) return [];
  const text = '"kubectl apply" has left a copy of the keys in an annotation, which whoever may see metadata can read';
  const command = `kubectl -n ${namespace} annotate secret ${name} kubectl.kubernetes.io/last-applied-configuration-`;
  return [{ level: 'problem', text, remedy: `${command}, and use "kubectl create" or "replace" from now on` }];
}

function leftovers({ data }: SecretObject, name: SecretName): Finding[] {
  const manifest = parseManifest(data.get(MANIFEST_NAME)?.toString('utf8') ?? '', uriOf(name));
  const listed = new Set(manifest.keys.map(({ id }) => blobName(id)));
  return [...data.keys()]
    .filter((one) => one.endsWith('.key') && !listed.has(one))
    .map((one) => {
      const text = `${uriOf(name)} has ${one}, a key that no manifest lists; if you did not put it there, remove it`;
      return { level: 'hint', text, remedy: text };
    });
}
