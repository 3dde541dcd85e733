import type { KubeObject } from './api-client.ts';
import type { ManagementCluster } from './management-cluster.ts';
import { parseAllDocuments } from 'yaml';

const PLURALS: Readonly<Record<string, string>> = {
  Namespace: 'namespaces',
  ServiceAccount: 'serviceaccounts',
  Role: 'roles',
  RoleBinding: 'rolebindings',
  Secret: 'secrets',
  ConfigMap: 'configmaps',
  Pod: 'pods',
  DaemonSet: 'daemonsets',
  ClusterRole: 'clusterroles',
  ClusterRoleBinding: 'clusterrolebindings',
};

/** The objects in a text of YAML documents. */
export const objectsIn = (text: string): KubeObject[] =>
  parseAllDocuments(text, { schema: 'yaml-1.1' }).map((one) => one.toJS() as KubeObject);

/** Where the API has objects like this one. */
export function collectionOf({ apiVersion = '', kind = '', metadata: { namespace } }: KubeObject): string {
  const prefix = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const plural = PLURALS[kind];
  if (plural === undefined) throw new Error(`what is the plural of ${kind}?`);
  return `${prefix}/${namespace === undefined ? '' : `namespaces/${namespace}/`}${plural}`;
}

/**
 * Sends objects to kube-apiserver, which checks and does not store them; unknown fields are errors.
 * @throws the answer if it refuses one
 */
export async function dryRun(
  { apiserver: { client } }: ManagementCluster,
  objects: readonly KubeObject[],
): Promise<void> {
  for (const object of objects) {
    const { name, namespace } = object.metadata;
    // A namespace is there already.
    if (object.kind === 'Namespace') {
      await client.replace(`/api/v1/namespaces/${name}?dryRun=All&fieldValidation=Strict`, object);
      continue;
    }
    const made = await client.create(`${collectionOf(object)}?dryRun=All&fieldValidation=Strict`, object);
    if (made.metadata.name !== name || made.metadata.namespace !== namespace)
      throw new Error(`${name}: another object was made`);
  }
}

/** Whether kube-apiserver knows the kind without another program's definitions. */
export const isBuiltIn = ({ apiVersion = '' }: KubeObject): boolean => !apiVersion.startsWith('monitoring.coreos.com/');
