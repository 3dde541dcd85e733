import { blobName, MANIFEST_NAME, parseManifest } from '../../keyset/manifest.ts';
import { unavailable } from '../../errors.ts';
import type { KmsError } from '../../errors.ts';
import type { Finding } from '../../finding.ts';
import { keepUnlisted } from '../../keyset/restoring.ts';
import type { ApiServer } from './api-server.ts';
import { GRANT_ROLE } from './remedies.ts';
import { refuseOwnCluster, UNCHECKED } from './guard.ts';
import { parseSecret } from './protobuf.ts';
import type { SecretObject } from './protobuf.ts';
import { getSecret, uriOf } from './secret-name.ts';
import type { SecretName } from './secret-name.ts';

/** Checks for `doctor` what a load does not show. */
export async function examineSecret(
  api: ApiServer,
  secret: SecretName,
  served: string | undefined,
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings = [await examineGuard(api, served)];
  try {
    const { exposed } = await api.credentials(signal);
    findings.push(...exposed.map((one) => ({ level: 'hint', ...one }) as const));
    findings.push(...(await examineRights(api, secret, signal)), ...(await examineData(api, secret, signal)));
  } catch {
    // The load reports what is wrong.
  }
  return findings;
}

async function examineGuard(api: ApiServer, served: string | undefined): Promise<Finding> {
  if (served === UNCHECKED) {
    const text =
      'not checked: whether this Secret is in the cluster that the instance serves ("serves" is "unchecked")';
    return { level: 'hint', text, remedy: 'set "serves" to the sha256 of the served cluster\'s CA' };
  }
  try {
    refuseOwnCluster(served, (await api.credentials()).ca);
    return { level: 'ok', text: `the Secret is in another cluster than the one with the CA ${served ?? ''}` };
  } catch (error) {
    const { message, remedy = message } = error as KmsError;
    return { level: 'problem', text: message, remedy };
  }
}

/** Asks what the credentials allow: with too little, changes come late; with too much, a thief can do it too. */
async function examineRights(api: ApiServer, { namespace, name }: SecretName, signal: AbortSignal): Promise<Finding[]> {
  const may = async (verb: string, one?: string): Promise<boolean> => {
    const resourceAttributes = { namespace, verb, resource: 'secrets', version: 'v1', ...(one && { name: one }) };
    const kind = { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview' };
    const bytes = Buffer.from(JSON.stringify({ ...kind, spec: { resourceAttributes } }));
    const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
    const body = { type: 'application/json', bytes };
    const answer = await api.request({ method: 'POST', path, accept: 'application/json', body, signal });
    // An answer that is no review, such as a 401, says nothing about rights.
    if (answer.status !== 201) throw unavailable(`the API server answers with HTTP status ${answer.status}`);
    const review = JSON.parse(answer.body.toString('utf8')) as { status?: { allowed?: boolean } };
    return review.status?.allowed === true;
  };
  const findings: Finding[] = [];
  if (!(await may('watch', name))) {
    const text = 'the credentials do not allow watching this Secret: the plugin sees a change at its next probe only';
    findings.push({ level: 'problem', text, remedy: GRANT_ROLE });
  }
  if (await may('get')) {
    const text = `the credentials allow reading every Secret of namespace ${namespace}, not only this one`;
    findings.push({ level: 'hint', text, remedy: GRANT_ROLE });
  }
  if ((await may('update', name)) || (await may('patch', name))) {
    const text = 'the credentials allow changing this Secret; the plugin only reads it';
    findings.push({ level: 'hint', text, remedy: GRANT_ROLE });
  }
  return findings;
}

async function examineData(api: ApiServer, secret: SecretName, signal: AbortSignal): Promise<Finding[]> {
  const { status, body } = await api.request(getSecret(secret, signal));
  if (status !== 200) return [];
  const { hasAppliedCopy, data, wipe } = parseSecret(body, secret);
  try {
    const findings = leftovers(data, uriOf(secret));
    if (!hasAppliedCopy) return findings;
    const text =
      '"kubectl apply" has left a copy of the keys in an annotation: anyone who can read its metadata has the keys';
    const { namespace, name } = secret;
    const command = `kubectl -n ${namespace} annotate secret ${name} kubectl.kubernetes.io/last-applied-configuration-`;
    const remedy = `${command}, and use "kubectl create" or "replace" from now on`;
    return [{ level: 'problem', text, remedy }, ...findings];
  } finally {
    wipe();
  }
}

function leftovers(data: SecretObject['data'], uri: string): Finding[] {
  const manifest = parseManifest(data.get(MANIFEST_NAME)?.toString('utf8') ?? '', uri);
  const listed = new Set(manifest.keys.map(({ id }) => blobName(id)));
  return [...data.keys()]
    .filter((one) => one.endsWith('.key') && !listed.has(one))
    .map((one) => {
      const text = `${uri} has ${one}, a key that the manifest does not list`;
      return { level: 'hint', text, remedy: keepUnlisted(one) };
    });
}
