import type { Method } from 'got';
import { unavailable } from '../../../errors.ts';
import type { KmsError } from '../../../errors.ts';
import { abortError, unlessAborted } from '../../../util/abort.ts';
import { backOffMs } from '../../../util/back-off.ts';
import { sleep, systemClock } from '../../../util/clock.ts';
import type { Clock } from '../../../util/clock.ts';
import type { TlsFiles } from './cloud.ts';
import { readText } from './configuration.ts';

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
  /** Belongs to the caller, who wipes it if it holds a key. */
  readonly body: Buffer;
}

/** Longest answer that is read, in bytes. A catalog of many regions has some tens of KB. */
const MAX_ANSWER_BYTES = 1024 * 1024;

/** ms for the connection, and for the TLS handshake. */
const CONNECT_TIMEOUT_MS = 5_000;
/** ms for the whole request. A loaded Barbican may need some seconds. */
const REQUEST_TIMEOUT_MS = 20_000;

const MAX_ATTEMPTS = 3;
const BACK_OFF = { firstMs: 150, longestMs: 300 };

/** After these failures the server has received nothing, so that any request may be repeated. */
const NOT_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);

/** Answers of a server, or of a proxy before it, that may be better a moment later. */
const PASSING = new Set([429, 500, 502, 503, 504]);

/** HTTP for OpenStack's services. It follows no redirect, because a token must not go where an answer sends it. */
export class HttpClient {
  readonly #clock: Clock;
  #library: ReturnType<typeof loadLibrary> | undefined;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

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
   * Sends a request, up to three times with a back-off: reads and deletions after any failure, others only if the server has received
   * nothing.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` that says what is wrong with the connection; {@link abortError} of `signal`
   */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    const { method, url, signal } = request;
    const repeatable = method === 'GET' || method === 'DELETE';
    const https = url.startsWith('https:') ? await tlsOptions(request.tls) : {};
    for (let attempt = 1; ; attempt++) {
      const last = attempt === MAX_ATTEMPTS;
      try {
        const answer = await this.#sendOnce(request, https);
        if (last || !repeatable || !PASSING.has(answer.status)) return answer;
      } catch (error) {
        if (signal.aborted) throw abortError(signal);
        const code = codeOf(error);
        const again = NOT_SENT.has(code) || (repeatable && code !== 'ETIMEDOUT' && !TLS_FAULT.test(code));
        if (last || !again) throw connectionError(url, code);
      }
      await unlessAborted(sleep(this.#clock, backOffMs(attempt, BACK_OFF), signal), signal);
    }
  }

  async #sendOnce(request: HttpRequest, https: Partial<Awaited<ReturnType<typeof tlsOptions>>>): Promise<HttpAnswer> {
    const { method, url, headers = {}, body, signal } = request;
    const { got, agent } = await this.#load();
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
    // The library waits for the end of a body with every method but GET.
    if (!body && method !== 'GET') stream.end();
    const chunks: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        chunks.push(chunk);
        length += chunk.length;
        if (length > MAX_ANSWER_BYTES) throw Object.assign(new Error('the answer is too long'), { code: 'E2BIG' });
      }
      const { response } = stream;
      if (!response) throw Object.assign(new Error('no answer'), { code: 'ECONNRESET' });
      return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks, length) };
    } finally {
      stream.destroy();
      for (const chunk of chunks) chunk.fill(0);
    }
  }

  /** A failure is not kept: there may have been no file descriptor left. */
  async #load(): ReturnType<typeof loadLibrary> {
    this.#library ??= loadLibrary();
    try {
      return await this.#library;
    } catch (error) {
      this.#library = undefined;
      throw error;
    }
  }
}

/** Loads got on first use: it takes 25 MB of memory, and only instances that use OpenStack need it. */
async function loadLibrary() {
  const [{ default: got }, http, https] = await Promise.all([import('got'), import('node:http'), import('node:https')]);
  const options = { keepAlive: true, maxSockets: 16 };
  return { got, agent: { http: new http.Agent(options), https: new https.Agent(options) } };
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

const SET_CA = 'set caFile to the certificates of the authority of that server';

/** What the code of a failure means, and what an operator should do. The first match counts. */
const PROBLEMS: readonly (readonly [code: RegExp, text: string, remedy?: string])[] = [
  [/^ECONNREFUSED$/, 'nothing listens there'],
  [/^(ECONNRESET|EPIPE)$/, 'the connection was closed without an answer'],
  [/^(ENOTFOUND|EAI_AGAIN)$/, 'its name cannot be looked up', 'check the URL and the DNS of this host'],
  [/^E(HOST|NET)UNREACH$/, 'there is no route to it'],
  [/^ETIMEDOUT$/, 'no answer in time'],
  [/^E2BIG$/, 'its answer is too long'],
  [/^CERT_HAS_EXPIRED$/, 'its certificate has expired', 'renew the certificate of that server'],
  [/^CERT_NOT_YET_VALID$/, 'its certificate is not valid yet', "check this host's clock"],
  [/SELF_SIGNED|^UNABLE_TO/, 'the authority of its certificate is not known here', SET_CA],
  [/ALTNAME/, 'its certificate is for another name', 'use the name that is in the certificate'],
  [
    /CERTIFICATE_REQUIRED/,
    'it demands a client certificate',
    'set cert and key in the login (clouds.yaml, cloud.conf)',
  ],
  [/^EPROTO$|^ERR_SSL/, 'it does not speak TLS or refuses the handshake', 'check whether its URL begins with http:'],
];

const TLS_FAULT = /^(CERT_|ERR_TLS|ERR_SSL|UNABLE_TO|SELF_SIGNED|DEPTH_ZERO)/;

/** Without a cause: the library's own error carries the request, and with it the token. */
function connectionError(url: string, code: string): KmsError {
  const [, text, remedy] = PROBLEMS.find(([codes]) => codes.test(code)) ?? [undefined, `failed (${code})`];
  return unavailable(`${new URL(url).origin}: ${text}`, { remedy });
}

function codeOf(error: unknown): string {
  const { code, cause } = error as { code?: unknown; cause?: unknown };
  const own = typeof code === 'string' ? code : 'unknown';
  // The library has names of its own for errors of the socket.
  if (/^ERR_(GOT|BODY|READING|ABORTED)/.test(own) && cause !== undefined && cause !== error) return codeOf(cause);
  return own;
}
