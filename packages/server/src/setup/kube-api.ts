import type { ApiServer } from '@teapot-kms/core';
import type * as z from 'zod';
import { parsed, refusal } from '../kubernetes/answers.ts';
import { metricLines } from '../kubernetes/metric-lines.ts';

/** Media types of what is sent. */
const TYPES = { GET: '', POST: 'application/json', PATCH: 'application/merge-patch+json' };

/** One kube-apiserver, asked directly and not through a load balancer. Nothing is asked twice: a setup looks again by itself. */
export class KubeApi {
  /** Such as `https://10.0.0.1:6443`. Its certificate must be one of the kubeconfig's authority, for this address. */
  readonly origin: string;
  readonly #server: ApiServer;

  constructor(origin: string, server: ApiServer) {
    this.origin = origin;
    this.#server = server;
  }

  /**
   * Sends a request and reads an object.
   * @returns `undefined` for 404
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` for any other answer than 2xx, for one of another form, and without an answer
   */
  async object<T>(
    method: 'GET' | 'POST' | 'PATCH',
    path: string,
    schema: z.ZodType<T>,
    body?: object,
  ): Promise<T | undefined> {
    const sent = body && { body: { type: TYPES[method], bytes: Buffer.from(JSON.stringify(body)) } };
    const answer = await this.#server.request({ method, path, accept: 'application/json', ...sent });
    if (answer.status === 404) return undefined;
    if (answer.status < 200 || answer.status >= 300) throw refusal(answer, `${this.origin}: ${method} ${path}`);
    return parsed(answer, schema, path);
  }

  /** Removes what a path selects. @throws as {@link KubeApi.object} */
  async remove(path: string): Promise<void> {
    const answer = await this.#server.request({ method: 'DELETE', path, accept: 'application/json' });
    if (answer.status >= 300) throw refusal(answer, `${this.origin}: DELETE ${path}`);
  }

  /** @throws {@link KmsError} as {@link KubeApi.object} if it is not ready */
  async checkReady(): Promise<void> {
    const answer = await this.#server.request({ method: 'GET', path: '/readyz', accept: 'text/plain' });
    if (answer.status !== 200) throw refusal(answer, `${this.origin}/readyz`);
  }

  /** The lines of its metrics that are wanted. @throws as {@link metricLines} */
  metrics(keep: (line: string) => boolean): Promise<string> {
    return metricLines(this.#server, this.#server.clock, this.origin, keep);
  }

  close(): void {
    this.#server.close();
  }
}
