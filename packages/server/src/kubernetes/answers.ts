import { backOffMs, KmsError, sleep, unavailable } from '@teapot-kms/core';
import type { ApiAnswer, ApiRequest, ApiServer, Clock } from '@teapot-kms/core';
import * as z from 'zod';

/** The API of one cluster. */
export interface Api {
  readonly server: Pick<ApiServer, 'request'>;
  readonly clock: Clock;
}

/** Statuses after which the same request may succeed. 409: others changed the object at the same time. */
const TRY_AGAIN = [409, 429, 500, 502, 503, 504];
const MAX_TRIES = 10;
const BACK_OFF = { firstMs: 500, longestMs: 10_000 };
/** Longest wait in ms that a server may ask for. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * Sends a request until it is answered for good, for about a minute. It waits as long as the server asks for.
 * @param requestOf - makes the request, after so many failures
 * @returns the answer, whatever its status; the caller wipes its body
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` where there is no answer
 */
export async function answerOf(
  { server, clock }: Api,
  requestOf: (failures: number) => ApiRequest,
): Promise<ApiAnswer> {
  for (let failures = 0; ;) {
    const answer = await server.request(requestOf(failures)).catch(unlessUnavailable);
    failures++;
    if (!(answer instanceof KmsError)) {
      if (!TRY_AGAIN.includes(answer.status) || failures === MAX_TRIES) return answer;
      answer.body.fill(0);
    } else if (failures === MAX_TRIES) throw answer;
    const askedMs = answer instanceof KmsError ? 0 : Math.min(answer.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS);
    await sleep(clock, Math.max(askedMs, backOffMs(failures, BACK_OFF)));
  }
}

function unlessUnavailable(error: unknown): KmsError {
  if (error instanceof KmsError && error.code === 'ERR_KMS_STORE_UNAVAILABLE') return error;
  throw error;
}

/**
 * Reads JSON.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` for every other status than 200, and for an answer of another form
 */
export async function readJson<T>(api: Api, path: string, schema: z.ZodType<T>): Promise<T> {
  const answer = await answerOf(api, () => ({ method: 'GET', path, accept: 'application/json' }));
  if (answer.status !== 200) throw refusal(answer, `GET ${path}`);
  return parsed(answer, schema, path);
}

/** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`. It shows nothing of the answer, which may be of Secrets */
export function parsed<T>({ body }: ApiAnswer, schema: z.ZodType<T>, path: string): T {
  try {
    return schema.parse(JSON.parse(body.toString('utf8')));
  } catch {
    throw unavailable(`the API server's answer for ${path} is not what Kubernetes answers`);
  } finally {
    body.fill(0);
  }
}

const statusSchema = z.object({
  message: z.string().catch(''),
  metadata: z.object({ continue: z.string() }).partial(),
});

/** What a Status object says, and with 410 where a list may go on. */
export function statusOf({ body }: ApiAnswer): { readonly message: string; readonly next: string | undefined } {
  try {
    const { message, metadata } = statusSchema.parse({
      metadata: {},
      ...(JSON.parse(body.toString('utf8')) as object),
    });
    return { message, next: metadata.continue };
  } catch {
    return { message: '', next: undefined };
  } finally {
    body.fill(0);
  }
}

/** The error for a refused request. */
export function refusal(answer: ApiAnswer, what: string): KmsError {
  const { status } = answer;
  const remedy = status === 401 || status === 403 ? 'use a kubeconfig of an administrator: --kubeconfig' : undefined;
  return unavailable(`${what}: HTTP status ${status} ${statusOf(answer).message}`, { remedy });
}
