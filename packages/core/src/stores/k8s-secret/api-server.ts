import type { ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import { abortError } from '../../util/abort.ts';
import { KmsError } from '../../errors.ts';
import type { SharedResource, SharedResources, Lease } from '../../util/shared-resources.ts';
import { CANCEL, Connections, NO_ERROR } from './connections.ts';
import { KubeCredentials } from './credentials.ts';
import type { Credentials, CredentialsOptions } from './credentials.ts';
import { Gate } from './gate.ts';

/** Requests to one API server that run at a time. */
const MAX_REQUESTS = 16;
/** Watches that are being begun at a time: apart from the requests, which those that hang must not hold up. */
const MAX_BEGINNING = 8;
/** ms for an answer to begin. */
const ANSWER_TIMEOUT_MS = 10_000;
/** A Secret has at most 1 MiB of data. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PATCH';
  readonly path: string;
  readonly accept: string;
  readonly body?: { readonly type: string; readonly bytes: Buffer };
  readonly signal: AbortSignal;
}

export interface ApiAnswer {
  readonly status: number;
  /** The caller's to wipe. */
  readonly body: Buffer;
}

/** One API server under one set of credentials: what all instances that use it share. */
export class ApiServer implements SharedResource {
  readonly #credentials: KubeCredentials;
  readonly #connections = new Connections();
  readonly #requests = new Gate(MAX_REQUESTS);
  readonly #beginning = new Gate(MAX_BEGINNING);

  constructor(options: CredentialsOptions) {
    this.#credentials = new KubeCredentials(options);
  }

  static acquire(shared: SharedResources, options: CredentialsOptions): Lease<ApiServer> {
    const key = JSON.stringify(['k8s-secret', options.kubeconfig ?? null, options.context ?? null]);
    return shared.acquire(key, () => new ApiServer(options));
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` */
  credentials(): Promise<Credentials> {
    return this.#credentials.current();
  }

  /**
   * The whole answer, whatever its status. Credentials that are refused are read anew, and the request is sent once more.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` where there is none
   */
  request(request: ApiRequest): Promise<ApiAnswer> {
    return this.#requests.run(request.signal, async () => {
      const first = await this.#send(request);
      const { status, body } = first.retry ? await this.#send(request) : first;
      return { status, body };
    });
  }

  /**
   * Begins an answer without an end. The stream is open when its status is known; `signal` ends it.
   * @throws {@link KmsError} as {@link ApiServer.request}
   */
  open(request: ApiRequest): Promise<{ readonly status: number; readonly stream: ClientHttp2Stream }> {
    return this.#beginning.run(request.signal, async () => {
      const { status, stream, credentials } = await this.#begin(request);
      if (status === 401) this.#credentials.refused(credentials);
      return { status, stream };
    });
  }

  close(): void {
    this.#connections.close();
  }

  async #send(request: ApiRequest): Promise<ApiAnswer & { readonly retry: boolean }> {
    const { status, stream, credentials } = await this.#begin(request);
    const body = await bodyOf(stream, request.signal);
    if (status === 401) this.#credentials.refused(credentials);
    return { status, body, retry: status === 401 && (await this.#credentials.current()) !== credentials };
  }

  async #begin({ method, path, accept, body, signal }: ApiRequest) {
    const credentials = await this.#credentials.current();
    const { server, headers } = credentials;
    const stream = await this.#connections.request(
      credentials,
      {
        ...lowerCase(headers),
        ':method': method,
        ':path': server.pathname.replace(/\/$/, '') + path,
        accept,
        'user-agent': 'teapot-kms',
        ...(body && { 'content-type': body.type }),
      },
      body !== undefined,
    );
    if (body) stream.end(body.bytes);
    const answer = await headersOf(stream, signal);
    return { status: Number(answer[':status']), stream, credentials };
  }
}

function headersOf(stream: ClientHttp2Stream, signal: AbortSignal): Promise<IncomingHttpHeaders> {
  return new Promise((resolve, reject) => {
    endWith(stream, signal);
    const timer = setTimeout(() => stream.close(CANCEL), ANSWER_TIMEOUT_MS);
    const fail = () => reject(failure(stream, signal));
    stream.once('response', resolve).once('response', () => clearTimeout(timer));
    stream
      .once('error', fail)
      .once('close', fail)
      .once('close', () => clearTimeout(timer));
  });
}

async function bodyOf(stream: ClientHttp2Stream, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  try {
    let length = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > MAX_ANSWER_BYTES) throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'the API server answers too much');
    }
    if (signal.aborted || stream.rstCode !== NO_ERROR) throw failure(stream, signal);
    return Buffer.concat(chunks);
  } catch (error) {
    throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', failure(stream, signal).message);
  } finally {
    for (const chunk of chunks) chunk.fill(0);
  }
}

/** Ends the stream when the signal is aborted. */
function endWith(stream: ClientHttp2Stream, signal: AbortSignal): void {
  const end = () => stream.close(CANCEL);
  stream.on('error', () => undefined);
  if (signal.aborted) return end();
  signal.addEventListener('abort', end, { once: true });
  stream.once('close', () => signal.removeEventListener('abort', end));
}

function failure(stream: ClientHttp2Stream, signal: AbortSignal): KmsError {
  if (signal.aborted) return abortError(signal);
  const reason = stream.errored?.message ?? `the stream ended with HTTP/2 code ${stream.rstCode}`;
  return new KmsError('ERR_KMS_STORE_UNAVAILABLE', `the API server gave no whole answer: ${reason}`);
}

function lowerCase(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value.trim()]));
}
