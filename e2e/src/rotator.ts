import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cluster } from './cluster.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { collectionOf, objectsIn } from './manifests.ts';

/**
 * Applies k8s/rotate/rbac.yaml, for the encrypted resources of a test.
 * @returns the path of a kubeconfig of its account, which rotates
 */
export async function rotatorKubeconfig(cluster: Cluster, resources: readonly string[]): Promise<string> {
  const { client, apiserver, directory } = cluster;
  const text = readFileSync(new URL('../../k8s/rotate/rbac.yaml', import.meta.url), 'utf8');
  for (const object of objectsIn(text.replace('[secrets]', `[${resources.join(', ')}]`))) {
    await client.create(collectionOf(object), object);
  }
  const account = '/api/v1/namespaces/kube-system/serviceaccounts/teapot-kms-rotate/token';
  const answer = await client.create(account, { metadata: { name: 'teapot-kms-rotate' }, spec: {} });
  const { token } = answer['status'] as { token: string };
  return writeKubeconfig(join(directory, 'rotator.kubeconfig'), [apiserver], token);
}
