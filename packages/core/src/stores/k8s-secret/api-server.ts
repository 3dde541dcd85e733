import type { ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import { isDeepStrictEqual } from 'node:util';
import { KmsError, unavailable } from '../../errors.ts';
import { abortError, timeoutSignal, unlessAborted } from '../../util/abort.ts';
import type { Clock } from '../../util/clock.ts';
import { redact } from '../../util/redact.ts';
import type { SharedResource, SharedResources, Lease } from '../../util/shared-resources.ts';
import { withTimeout } from '../../util/timeout.ts';
import { Connections, NO_ERROR } from './connections.ts';
import { KubeCredentials } from './credentials.ts';
import type { Credentials } from './credentials.ts';
import { Gate } from './gate.ts';
import type { KubeconfigOptions } from './kubeconfig/load.ts';

/** Requests to one API server that run at a time. */
const MAX_REQUESTS = 16;
/** Watches that are starting at a time. They have places of their own, so that those which hang hold up no request. */
const MAX_STARTING = 8;
/** ms until an answer begins. */
const ANSWER_TIMEOUT_MS = 10_000;
/** ms for a whole request that has no signal of its own. */
const REQUEST_TIMEOUT_MS = 30_000;
/** A Secret has at most 1 MiB of data. Annotations and managed fields come with it. */
const MAX_ANSWER_BYTES = 1.5 * 1024 * 1024;

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly accept: string;
  readonly body?: { readonly type: string; readonly bytes: Buffer };
  /** Default: 30 s. */
  readonly signal?: AbortSignal;
}

export interface ApiAnswer {
  readonly status: number;
  /** The caller wipes it. */
  readonly body: Buffer;
  /** What it asks for with `Retry-After`, in ms. */
  readonly retryAfterMs: number | undefined;
  /** Those that it was given for. */
  readonly credentials: Credentials;
}

export interface BegunAnswer {
  readonly status: number;
  readonly retryAfterMs: number | undefined;
  readonly stream: ClientHttp2Stream;
  readonly credentials: Credentials;
}

/** One API server under one set of credentials: what all instances that use it share. */
export class ApiServer implements SharedResource {
  readonly clock: Clock;
  readonly #credentials: KubeCredentials;
  readonly #connections: Connections;
  readonly #requests = new Gate(MAX_REQUESTS);
  readonly #starting = new Gate(MAX_STARTING);

  constructor(options: KubeconfigOptions, shared: SharedResources) {
    this.clock = shared.clock;
    this.#credentials = new KubeCredentials(options, shared);
    this.#connections = new Connections(shared.clock);
  }

  static acquire(shared: SharedResources, options: KubeconfigOptions): Lease<ApiServer> {
    const key = JSON.stringify(['k8s-secret', options.kubeconfig, options.context, options.server]);
    return shared.acquire(key, () => new ApiServer(options, shared));
  }

  /** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, `ERR_KMS_INVALID_URI` for a kubeconfig that cannot be used */
  credentials(signal = timeoutSignal(this.clock, REQUEST_TIMEOUT_MS)): Promise<Credentials> {
    return unlessAborted(this.#credentials.current(), signal);
  }

  /**
   * Returns the whole answer, whatever its status. After a 401 the credentials are read again, and if they have changed,
   * the request is sent once more.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` where there is no answer; see also {@link ApiServer.credentials}
   */
  request(request: ApiRequest): Promise<ApiAnswer> {
    const { signal = timeoutSignal(this.clock, REQUEST_TIMEOUT_MS) } = request;
    return this.#requests.run(signal, async () => {
      const first = await this.#begin(request, signal);
      const answer = await answerOf(first, signal);
      if (first.status !== 401 || isDeepStrictEqual(await this.credentials(signal), first.credentials)) return answer;
      return answerOf(await this.#begin(request, signal), signal);
    });
  }

  /**
   * Begins an answer without an end, such as a watch. `signal` ends it.
   * @throws {@link KmsError} as {@link ApiServer.request}
   */
  open(request: ApiRequest & { readonly signal: AbortSignal }): Promise<BegunAnswer> {
    return this.#starting.run(request.signal, () => this.#begin(request, request.signal));
  }

  close(): void {
    this.#credentials.close();
    this.#connections.close();
  }

  async #begin({ method, path, accept, body }: ApiRequest, signal: AbortSignal): Promise<BegunAnswer> {
    const credentials = await this.credentials(signal);
    const headers = {
      ...credentials.headers,
      ':method': method,
      ':path': credentials.server.pathname.replace(/\/$/, '') + path,
      accept,
      'user-agent': 'teapot-kms',
      ...(body && { 'content-type': body.type }),
    };
    try {
      return await withTimeout(this.clock, ANSWER_TIMEOUT_MS, 'the API server', async (late) => {
        const either = AbortSignal.any([signal, late]);
        const stream = await this.#connections.request(credentials, headers, body !== undefined, either);
        if (body) stream.end(body.bytes);
        const answered = await headersOf(stream, either);
        const status = Number(answered[':status']);
        if (status === 401) this.#credentials.refused(credentials);
        return { status, retryAfterMs: retryAfterMsOf(answered), stream, credentials };
      });
    } catch (error) {
      this.#credentials.unreachable(credentials);
      throw error;
    }
  }
}

function headersOf(stream: ClientHttp2Stream, signal: AbortSignal): Promise<IncomingHttpHeaders> {
  return new Promise((resolve, reject) => {
    stream.once('response', resolve).once('close', () => reject(failure(stream, signal)));
  });
}

/** Kubernetes sends seconds, and no date. */
function retryAfterMsOf({ 'retry-after': text }: IncomingHttpHeaders): number | undefined {
  return text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) * 1000 : undefined;
}

async function answerOf({ stream, ...begun }: BegunAnswer, signal: AbortSignal): Promise<ApiAnswer> {
  const chunks: Buffer[] = [];
  const { status, credentials } = begun;
  try {
    let length = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > MAX_ANSWER_BYTES) throw unavailable(`an answer of the API server exceeds ${MAX_ANSWER_BYTES} bytes`);
    }
    if (stream.rstCode !== NO_ERROR) throw failure(stream, signal);
    const body = Buffer.concat(chunks);
    if (status !== 200) redact(body, [String(credentials.headers['authorization']).replace(/^Bearer /, '')]);
    return { ...begun, body };
  } catch (error) {
    throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', failure(stream, signal).message);
  } finally {
    for (const chunk of chunks) chunk.fill(0);
  }
}

function failure(stream: ClientHttp2Stream, signal: AbortSignal): KmsError {
  if (signal.aborted) return abortError(signal);
  const reason = stream.errored?.message ?? `the stream ended with HTTP/2 code ${stream.rstCode}`;
  return unavailable(`the API server gave no whole answer: ${reason}`);
}
