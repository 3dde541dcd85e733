import type { Clock, Credentials } from '@teapot-kms/core';
import { once } from 'node:events';
import { request } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { SetupError } from './setup-error.ts';

/** ms for a whole request. */
const TIMEOUT_MS = 30_000;
/** Longest answer in bytes: the metrics of a large cluster take 20 MB. */
const MAX_ANSWER_BYTES = 128 * 1024 * 1024;

export interface KubeAnswer {
  readonly status: number;
  readonly text: string;
}

/** One kube-apiserver, asked directly and not through a load balancer, with the credentials of a kubeconfig. */
export class KubeApi {
  readonly origin: string;
  readonly #credentials: Credentials;
  readonly #clock: Clock;

  /** @param origin - such as `https://10.0.0.1:6443`. Its certificate must be one of the kubeconfig's authority, for this address */
  constructor(origin: string, credentials: Credentials, clock: Clock) {
    this.origin = origin;
    this.#credentials = credentials;
    this.#clock = clock;
  }

  /** Any answer, whatever its status. @throws Error without an answer */
  async send(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: object): Promise<KubeAnswer> {
    const { ca, cert, key, servername, headers } = this.#credentials;
    const late = new AbortController();
    const cancel = this.#clock.after(TIMEOUT_MS, () => late.abort(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    try {
      const call = request(`${this.origin}${path}`, {
        method,
        ca,
        cert,
        key,
        ...(servername !== undefined && { servername }),
        // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
        rejectUnauthorized: true,
        agent: false,
        signal: late.signal,
        headers: {
          ...headers,
          accept: 'application/json, text/plain',
          'user-agent': 'teapot-kms',
          ...(body && JSON_BODY),
        },
      });
      call.end(body && JSON.stringify(body));
      const [answer] = (await once(call, 'response')) as [IncomingMessage];
      return { status: answer.statusCode ?? 0, text: await textOf(answer) };
    } catch (error) {
      throw late.signal.aborted ? late.signal.reason : error;
    } finally {
      cancel();
    }
  }

  /**
   * Sends a request and reads an object.
   * @returns `undefined` for 404
   * @throws {@link SetupError} `ERR_SETUP_FAILED` for any other answer than 2xx
   */
  async object(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: object): Promise<unknown> {
    const { status, text } = await this.send(method, path, body);
    if (status === 404) return undefined;
    if (status >= 200 && status < 300) return JSON.parse(text);
    const remedy = 'check that the user of the kubeconfig is an administrator of the cluster';
    throw new SetupError('ERR_SETUP_FAILED', `${this.origin}: ${method} ${path}: ${status} ${messageOf(text)}`, remedy);
  }
}

const JSON_BODY = { 'content-type': 'application/json' };

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer) {
    length += (chunk as Buffer).length;
    if (length > MAX_ANSWER_BYTES) throw new Error(`an answer exceeds ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function messageOf(text: string): string {
  try {
    return String((JSON.parse(text) as { message?: unknown }).message);
  } catch {
    return 'no reason given';
  }
}
