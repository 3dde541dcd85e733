import { setTimeout as sleep } from 'node:timers/promises';
import type { Method } from 'got';
import { abortError } from '../../../util/abort.ts';
import { KmsError } from '../../../errors.ts';
import { readText } from './configuration.ts';

/** Files that say whom to trust and who we are; read at each request, so that a renewed certificate is picked up. */
export interface TlsFiles {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly insecure?: boolean;
}

export interface HttpRequest {
  readonly method: Method;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly tls: TlsFiles;
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The caller's own, to be wiped where it holds a key. */
  readonly body: Buffer;
}

/** Longest answer that is read, in bytes: a catalog of many regions has some tens of KB. */
const MAX_ANSWER_BYTES = 1024 * 1024;

/** ms in which a connection, and in https the handshake, must be made. */
const CONNECT_TIMEOUT_MS = 5_000;
/** ms that one request may take in all; a loaded Barbican may well need some seconds. */
const REQUEST_TIMEOUT_MS = 20_000;

const MAX_ATTEMPTS = 3;
const FIRST_PAUSE_MS = 150;

/** Failures in which nothing has reached the server, so that anything may be sent again. */
const NOT_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);

/** Answers of a server, or of the proxy before it, that is not well just now. */
const PASSING = new Set([429, 500, 502, 503, 504]);

/**
 * HTTP as OpenStack's services need it: no redirects (a token must not go where an answer sends it), no cookies, no compression,
 * capped answers, connections kept.
 */
export class HttpClient {
  #library: ReturnType<typeof loadLibrary> | undefined;

  close(): void {
    this.#library?.then(
      ({ agent }) => {
        agent.http.destroy();
        agent.https.destroy();
      },
      () => undefined,
    );
  }

  /**
   * Sends a request, and again with a pause while that is safe: reads and deletions at any failure, others only where
   * nothing was sent.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` that says what is wrong with the connection; `ERR_KMS_DEADLINE_EXCEEDED`
   * and such of `signal`
   */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    const safe = request.method === 'GET' || request.method === 'DELETE';
    const https = request.url.startsWith('https:') ? await tlsOptions(request.tls) : {};
    for (let attempt = 1; ; attempt++) {
      const last = attempt === MAX_ATTEMPTS;
      try {
        const answer = await this.#sendOnce(request, https);
        if (last || !safe || !PASSING.has(answer.status)) return answer;
      } catch (error) {
        if (request.signal.aborted) throw abortError(request.signal);
        const code = codeOf(error);
        if (last || !(NOT_SENT.has(code) || (safe && code !== 'ETIMEDOUT' && !isTlsFault(code)))) {
          throw connectionError(request.url, error);
        }
      }
      await pause(FIRST_PAUSE_MS * 2 ** (attempt - 1), request.signal);
    }
  }

  /** One that failed is tried again: there may have been no file descriptor left. */
  async #load(): ReturnType<typeof loadLibrary> {
    try {
      return await loadLibrary();
    } catch (error) {
      this.#library = undefined;
      throw error;
    }
  }

  async #sendOnce(request: HttpRequest, https: Partial<Awaited<ReturnType<typeof tlsOptions>>>): Promise<HttpAnswer> {
    const { method, url, headers = {}, body, signal } = request;
    const { got, agent } = await (this.#library ??= this.#load());
    const stream = got.stream(url, {
      method,
      headers,
      ...(body && { body }),
      https,
      signal,
      agent,
      followRedirect: false,
      throwHttpErrors: false,
      decompress: false,
      retry: { limit: 0 },
      timeout: { connect: CONNECT_TIMEOUT_MS, secureConnect: CONNECT_TIMEOUT_MS, request: REQUEST_TIMEOUT_MS },
    });
    // The library waits for a body to be written, whatever the method, but GET.
    if (!body && method !== 'GET') stream.end();
    const chunks: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        chunks.push(chunk);
        length += chunk.length;
        if (length > MAX_ANSWER_BYTES) throw Object.assign(new Error('an answer that is too long'), { code: 'E2BIG' });
      }
      const { response } = stream;
      if (!response) throw Object.assign(new Error('no answer'), { code: 'ECONNRESET' });
      return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks, length) };
    } finally {
      stream.destroy();
      for (const chunk of chunks) chunk.fill(0);
    }
  }
}

/** It is big (25 MB of memory), so only who speaks to OpenStack loads it. */
async function loadLibrary() {
  const [{ default: got }, http, https] = await Promise.all([import('got'), import('node:http'), import('node:https')]);
  const options = { keepAlive: true, maxSockets: 16 };
  return { got, agent: { http: new http.Agent(options), https: new https.Agent(options) } };
}

/** A pause with jitter, within what the caller still has. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms * (0.75 + 0.5 * Math.random()), undefined, { signal });
  } catch {
    throw abortError(signal);
  }
}

/** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` for a file that cannot be read */
async function tlsOptions({ caFile, certFile, keyFile, insecure = false }: TlsFiles) {
  return {
    rejectUnauthorized: !insecure,
    ...(caFile && { certificateAuthority: await readText(caFile) }),
    ...(certFile && { certificate: await readText(certFile) }),
    ...(keyFile && { key: await readText(keyFile) }),
  };
}

const TEXTS: Record<string, string> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'the connection was closed without an answer',
  EPIPE: 'the connection was closed without an answer',
  ENOTFOUND: 'its name is not known',
  EAI_AGAIN: 'its name cannot be looked up now',
  EHOSTUNREACH: 'no route to it',
  ENETUNREACH: 'no route to it',
  ETIMEDOUT: 'no answer in time',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: "its certificate is not valid yet; is this host's clock right?",
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate signs itself: set caFile',
  SELF_SIGNED_CERT_IN_CHAIN: 'the authority of its certificate is not trusted here: set caFile',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the authority of its certificate is not known here: set caFile',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the authority of its certificate is not known here: set caFile',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'it demands a client certificate: set certFile and keyFile',
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: 'it refuses the TLS handshake',
  EPROTO: 'it does not speak TLS, or refuses the handshake: http instead of https?',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS: http instead of https?',
  E2BIG: 'an answer that is too long',
};

function isTlsFault(code: string): boolean {
  return /^(CERT_|ERR_TLS|ERR_SSL|UNABLE_TO|SELF_SIGNED|DEPTH_ZERO)/.test(code);
}

/** Made anew: the library's own error carries the request, and so the token. */
function connectionError(url: string, error: unknown): KmsError {
  const code = codeOf(error);
  return new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${new URL(url).origin}: ${TEXTS[code] ?? `failed (${code})`}`);
}

function codeOf(error: unknown): string {
  const { code, cause } = error as { code?: unknown; cause?: unknown };
  const own = typeof code === 'string' ? code : 'unknown';
  // The library has names of its own for what the socket says.
  if (/^ERR_(GOT|BODY|READING|ABORTED)/.test(own) && cause !== undefined && cause !== error) return codeOf(cause);
  return own;
}
