import { until } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { ApiError } from './api-client.ts';
import type { ApiClient, KubeObject } from './api-client.ts';

export const SECRETS = '/api/v1/namespaces/default/secrets';
export const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';
export const TEAPOTS = '/apis/example.com/v1/namespaces/default/teapots';

/** Where an object of one of these collections lies in etcd. */
export function etcdKey(collection: string, name: string): string {
  return `${etcdPrefix(collection)}${name}`;
}

export function etcdPrefix(collection: string): string {
  const [, group, namespace = '', resource = ''] =
    /^\/(?:api|apis\/([^/]+))\/v1\/namespaces\/([^/]+)\/(\w+)$/.exec(collection) ?? [];
  return `/registry/${group === undefined ? '' : `${group}/`}${resource}/${namespace}/`;
}

/** A Secret that holds 64 random bytes. */
export function secret(name: string, value = randomBytes(64)): KubeObject {
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name }, data: { value: value.toString('base64') } };
}

export function configMap(name: string): KubeObject {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { value: randomBytes(64).toString('hex') } };
}

/** A custom resource of the kind that {@link defineTeapots} makes. */
export function teapotObject(name: string, contents: string): KubeObject {
  return { apiVersion: 'example.com/v1', kind: 'Teapot', metadata: { name }, spec: { contents } };
}

/** Makes the kind Teapot and waits until its API answers. */
export async function defineTeapots(client: ApiClient): Promise<void> {
  const schema = {
    openAPIV3Schema: {
      type: 'object',
      properties: { spec: { type: 'object', properties: { contents: { type: 'string' } } } },
    },
  };
  await client.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'teapots.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'teapots', singular: 'teapot', kind: 'Teapot', listKind: 'TeapotList' },
      versions: [{ name: 'v1', served: true, storage: true, schema }],
    },
  });
  await until('teapots are served', () => client.list(TEAPOTS));
}

/** kube-apiserver makes it a moment after it is ready for the first time. */
export async function untilDefaultNamespace(client: ApiClient): Promise<void> {
  await until('the namespace "default" is there', () => client.get('/api/v1/namespaces/default'));
}

/**
 * Replaces each object of a kind by itself, in all namespaces, which is how data moves to the current key. An object that
 * another writer changed meanwhile is under the current key as well.
 */
export async function rewriteAll(client: ApiClient, collection: string): Promise<void> {
  const { items } = await client.list(collection.replace('/namespaces/default', ''));
  await inParallel(items, 16, async (item) => {
    const { name, namespace = 'default' } = item.metadata;
    try {
      await client.replace(`${collection.replace('/default/', `/${namespace}/`)}/${name}`, item);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 409)) throw error;
    }
  });
}

export async function inParallel<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (const item of queue) await work(item);
    }),
  );
}
