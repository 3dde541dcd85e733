import * as z from 'zod';
import { readJson } from './answers.ts';
import type { Api } from './answers.ts';

/** A resource, and where the API serves it. */
export interface ApiResource {
  /** `/api/v1`, `/apis/apps/v1` */
  readonly prefix: string;
  /** `secrets` */
  readonly name: string;
  readonly namespaced: boolean;
}

const NEEDED_VERBS = ['list', 'patch'];

const listSchema = z.object({
  resources: z
    .array(z.object({ name: z.string(), namespaced: z.boolean(), verbs: z.array(z.string()) }))
    .nullish()
    .transform((resources) => resources ?? []),
});

const groupsSchema = z.object({
  groups: z.array(
    z.object({
      name: z.string(),
      versions: z.array(z.object({ version: z.string() })),
      preferredVersion: z.object({ version: z.string() }),
    }),
  ),
});
type Group = z.infer<typeof groupsSchema>['groups'][number];

/**
 * Finds where the API serves a resource that a scan has found in etcd. The name of one of Kubernetes' own has no group there, so it may be in any
 * of their groups.
 * @param resource - as `resourceOf` names it: `secrets`, `deployments`, `widgets.example.com`
 * @returns nothing for objects that are left over from a definition that is gone
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
 */
export async function servedResources(api: Api, resource: string): Promise<ApiResource[]> {
  const dot = resource.indexOf('.');
  const [name, group] = dot < 0 ? [resource, undefined] : [resource.slice(0, dot), resource.slice(dot + 1)];
  if (group === undefined) {
    const core = await find(api, '/api/v1', name);
    if (core) return [core];
  }
  const { groups } = await readJson(api, '/apis', groupsSchema);
  const wanted = groups.filter((one) => (group === undefined ? isOwn(one.name) : one.name === group));
  const found: ApiResource[] = [];
  for (const one of wanted) found.push(...(await findInGroup(api, one, name)));
  return found;
}

/** Kubernetes' own groups: `apps`, `batch`, `networking.k8s.io` */
const isOwn = (group: string): boolean => !group.includes('.') || group.endsWith('.k8s.io');

/** In the version that the server prefers, or in one of the others. */
async function findInGroup(api: Api, { name: group, versions, preferredVersion }: Group, name: string) {
  for (const version of new Set([preferredVersion.version, ...versions.map((one) => one.version)])) {
    const found = await find(api, `/apis/${encodeURIComponent(group)}/${encodeURIComponent(version)}`, name);
    if (found) return [found];
  }
  return [];
}

async function find(api: Api, prefix: string, name: string): Promise<ApiResource | undefined> {
  const { resources } = await readJson(api, prefix, listSchema);
  const found = resources.find((one) => one.name === name && NEEDED_VERBS.every((verb) => one.verbs.includes(verb)));
  return found && { prefix, name, namespaced: found.namespaced };
}
