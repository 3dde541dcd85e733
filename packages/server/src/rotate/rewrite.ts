import { safeText, unavailable } from '@teapot-kms/core';
import * as z from 'zod';
import type { ScanProgress } from '../inspect/scan.ts';
import { answerOf, parsed, statusOf } from '../kubernetes/answers.ts';
import type { Api } from '../kubernetes/answers.ts';
import type { ApiResource } from '../kubernetes/api-resources.ts';
import { namesOf } from '../kubernetes/object-names.ts';
import type { ObjectName } from '../kubernetes/object-names.ts';
import { pacer } from '../pacer.ts';

export interface RewriteOptions {
  /** Most objects per second; `Infinity` without a limit. */
  readonly rate: number;
  readonly onProgress: (progress: ScanProgress) => void;
}

export interface Rewritten {
  /** Objects that have another resourceVersion now: somebody has written them. */
  written: number;
  /** Objects that kube-apiserver did not write, because they are under the current key. */
  unchanged: number;
  /** Objects that were deleted meanwhile. */
  gone: number;
  /** Why others could not be written. */
  readonly failures: string[];
}

/** Requests that run at a time. */
const WORKERS = 8;
/** What keeps so many objects from being written concerns more than one object. */
const MAX_FAILURES = 100;
/** The answer has no data either. */
const METADATA_ONLY = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';
const NOT_FOUND = 404;

const answerSchema = z.object({ metadata: z.object({ resourceVersion: z.string() }) });

/**
 * Lets kube-apiserver write each object of a resource again, with a patch that changes nothing: it writes an object only if the key is not the
 * current one (k8s.io/apiserver etcd3 `GuaranteedUpdate`, `origState.stale`). So it can be repeated, no change of others can be lost, and
 * no data leaves the server.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` if the API does not answer, or refuses many objects
 */
export async function rewriteResource(
  api: Api,
  resource: ApiResource,
  { rate, onProgress }: RewriteOptions,
): Promise<Rewritten> {
  const counts: Rewritten = { written: 0, unchanged: 0, gone: 0, failures: [] };
  const pace = pacer(api.clock, rate);
  let done = 0;
  for await (const { objects, remaining } of namesOf(api, resource)) {
    const total = done + objects.length + remaining;
    const queue = objects.values();
    const work = async (): Promise<void> => {
      for (const object of queue) {
        await pace(1);
        await rewriteObject(api, resource, object, counts);
        onProgress({ objects: ++done, fraction: done / total });
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, work));
  }
  return counts;
}

async function rewriteObject(api: Api, resource: ApiResource, object: ObjectName, counts: Rewritten): Promise<void> {
  const path = pathOf(resource, object);
  const body = { type: 'application/merge-patch+json', bytes: Buffer.from('{}') };
  const answer = await answerOf(api, () => ({ method: 'PATCH', path, accept: METADATA_ONLY, body }));
  if (answer.status === 200) {
    const { metadata } = parsed(answer, answerSchema, path);
    if (metadata.resourceVersion === object.resourceVersion) counts.unchanged++;
    else counts.written++;
  } else if (answer.status === NOT_FOUND) {
    counts.gone++;
  } else {
    counts.failures.push(safeText(`${path}: HTTP status ${answer.status} ${statusOf(answer).message}`, 500));
    if (counts.failures.length < MAX_FAILURES) return;
    throw unavailable(`${MAX_FAILURES} objects cannot be written, the first is ${counts.failures[0]!}`, {
      remedy: 'allow the user of the kubeconfig to patch them, and run this command again: it goes on from there',
    });
  }
}

function pathOf({ prefix, name: resource, namespaced }: ApiResource, { name, namespace = '' }: ObjectName): string {
  const place = namespaced ? `${prefix}/namespaces/${encodeURIComponent(namespace)}` : prefix;
  return `${place}/${resource}/${encodeURIComponent(name)}`;
}
