import { unavailable } from '@teapot-kms/core';
import * as z from 'zod';
import { answerOf, parsed, refusal, statusOf } from './answers.ts';
import type { Api } from './answers.ts';
import type { ApiResource } from './api-resources.ts';

export interface ObjectName {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly resourceVersion: string;
}

export interface NamesPage {
  readonly objects: readonly ObjectName[];
  /** Objects behind this page; 0 if the server does not say. */
  readonly remaining: number;
}

/** Objects of a page. */
const PAGE = 500;
/** Without their data: no Secret leaves the API server. */
const NAMES_ONLY = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1';
/** A list begins again at most so often. */
const MAX_RESTARTS = 5;
const GONE = 410;

const pageSchema = z.object({
  metadata: z.object({ continue: z.string().optional(), remainingItemCount: z.number().optional() }),
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string(), namespace: z.string().optional(), resourceVersion: z.string() }),
    }),
  ),
});

/**
 * Lists the objects of a resource in all namespaces, page by page. A page that does not come is asked for again with half as many objects. What
 * exists from the start to the end of the list is in it, perhaps twice.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
 */
export async function* namesOf(api: Api, { prefix, name }: ApiResource): AsyncGenerator<NamesPage, void, undefined> {
  const path = `${prefix}/${name}`;
  let next = '';
  for (let restarts = 0; ;) {
    const token = next === '' ? '' : `&continue=${encodeURIComponent(next)}`;
    const answer = await answerOf(api, (failures) => {
      const limit = Math.max(1, PAGE >> failures);
      return { method: 'GET', path: `${path}?limit=${limit}${token}`, accept: NAMES_ONLY };
    });
    if (answer.status === GONE) {
      // etcd has compacted the list's revision away. The server offers to go on with a newer one.
      next = statusOf(answer).next ?? '';
      if (next !== '') continue;
      if (++restarts > MAX_RESTARTS) throw unavailable(`GET ${path}: the list has expired ${restarts} times`);
      continue;
    }
    if (answer.status !== 200) throw refusal(answer, `GET ${path}`);
    const { metadata, items } = parsed(answer, pageSchema, path);
    yield { objects: items.map((item) => item.metadata), remaining: metadata.remainingItemCount ?? 0 };
    next = metadata.continue ?? '';
    if (next === '') return;
  }
}
