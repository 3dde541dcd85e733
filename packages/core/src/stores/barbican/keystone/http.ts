import type { Agent, IncomingMessage } from 'node:http';
import type { LookupFunction } from 'node:net';
import { KmsError, unavailable } from '../../../errors.ts';
import { abortError, unlessAborted } from '../../../util/abort.ts';
import { backOffMs } from '../../../util/back-off.ts';
import { sleep, systemClock } from '../../../util/clock.ts';
import type { Clock } from '../../../util/clock.ts';
import { systemAuthorities } from '../../../util/system-authorities.ts';
import { withTimeout } from '../../../util/timeout.ts';
import type { TlsFiles } from './cloud.ts';
import { readText } from './configuration.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly tls: TlsFiles;
  /** What an answer with an error must not repeat. */
  readonly secrets: readonly (string | undefined)[];
  readonly signal: AbortSignal;
  /** For all attempts. Default 20 s: a loaded Barbican may need some seconds. */
  readonly timeoutMs?: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Belongs to the caller, who wipes it if it holds a key. */
  readonly body: Buffer;
  /** Those of the request: an answer may repeat them. */
  readonly secrets?: readonly (string | undefined)[];
}

/** Longest answer that is read, in bytes. A catalog of many regions has some tens of KB, and a list of 100 secrets 80 KB. */
const MAX_ANSWER_BYTES = 512 * 1024;
const MAX_ATTEMPTS = 3;
const BACK_OFF = { firstMs: 150, longestMs: 300 };

/** After these failures the server has received nothing, so that any request may be repeated. */
const NOT_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);

/** Answers of a server, or of a proxy before it, that may be better a moment later. */
const PASSING = new Set([429, 500, 502, 503, 504]);

/** HTTP for OpenStack's services. It follows no redirect, because a token must not go where an answer sends it. */
export class HttpClient {
  readonly #clock: Clock;
  readonly #agents = new Map<string, Agent>();
  readonly #proxyEnv: NodeJS.ProcessEnv;
  readonly #lookup: LookupFunction | undefined;

  /**
   * @param env - may name a proxy: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, or the same in lower case
   * @param lookup - looks up names. Default: the system
   */
  constructor(clock: Clock = systemClock, env: NodeJS.ProcessEnv = process.env, lookup?: LookupFunction) {
    this.#lookup = lookup;
    this.#clock = clock;
    this.#proxyEnv = proxyOf(env);
  }

  close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
  }

  /**
   * Sends a request, up to three times with a back-off: reads and deletions after any failure, others only if the server has received
   * nothing.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` that says what is wrong with the connection; {@link abortError} of `signal`
   */
  send({ timeoutMs = 20_000, ...request }: HttpRequest): Promise<HttpAnswer> {
    const { origin } = new URL(request.url);
    return withTimeout(this.#clock, timeoutMs, origin, (timeout) =>
      this.#sendRepeatedly({ ...request, signal: AbortSignal.any([request.signal, timeout]) }),
    );
  }

  async #sendRepeatedly(request: HttpRequest): Promise<HttpAnswer> {
    const { method, signal } = request;
    const { origin, protocol } = new URL(request.url);
    const tls = protocol === 'https:' ? await tlsOptions(request.tls) : {};
    const repeatable = method === 'GET' || method === 'DELETE';
    for (let attempt = 1; ; attempt++) {
      const last = attempt === MAX_ATTEMPTS;
      try {
        const answer = await this.#sendOnce(request, tls);
        if (last || !repeatable || !PASSING.has(answer.status)) return answer;
      } catch (error) {
        if (signal.aborted) throw abortError(signal);
        if (error instanceof KmsError) throw error;
        const { code = 'unknown' } = error as NodeJS.ErrnoException;
        if (last || !(NOT_SENT.has(code) || (repeatable && !FINAL.test(code)))) throw connectionError(origin, code);
      }
      await unlessAborted(sleep(this.#clock, backOffMs(attempt, BACK_OFF), signal), signal);
    }
  }

  async #sendOnce({ method, url, headers, body, signal, secrets }: HttpRequest, tls: object): Promise<HttpAnswer> {
    const { protocol } = new URL(url);
    // On first use: only instances that use OpenStack need them. An import of them loads undici too (ADR 0015).
    const { Agent, request } = process.getBuiltinModule(protocol === 'https:' ? 'node:https' : 'node:http');
    const agent =
      this.#agents.get(protocol) ?? new Agent({ keepAlive: true, maxSockets: 16, proxyEnv: this.#proxyEnv });
    this.#agents.set(protocol, agent);
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      // An error after the head of the answer arrives here too. The body then fails as well.
      request(url, { method, headers: { ...headers }, agent, signal, lookup: this.#lookup, ...tls }, resolve)
        .on('error', reject)
        .end(body);
    });
    const chunks: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        chunks.push(chunk);
        length += chunk.length;
        if (length > MAX_ANSWER_BYTES) throw unavailable(`${new URL(url).origin}: its answer is too long`);
      }
      const { statusCode: status, headers: answered } = response;
      return { status: status!, headers: answered, body: Buffer.concat(chunks, length), secrets };
    } finally {
      for (const chunk of chunks) chunk.fill(0);
    }
  }
}

/** As in Go, this host is never asked for through a proxy. */
function proxyOf({ HTTPS_PROXY, https_proxy, HTTP_PROXY, http_proxy, NO_PROXY, no_proxy }: NodeJS.ProcessEnv) {
  const [secure, plain] = [https_proxy ?? HTTPS_PROXY, http_proxy ?? HTTP_PROXY];
  const direct = [no_proxy ?? NO_PROXY, 'localhost', '127.0.0.1', '[::1]', '::1'].filter(Boolean).join(',');
  return { ...(secure && { HTTPS_PROXY: secure }), ...(plain && { HTTP_PROXY: plain }), NO_PROXY: direct };
}

/** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` for a file that cannot be read */
async function tlsOptions({ caFile, certFile, keyFile, insecure = false }: TlsFiles) {
  const own = {
    ...(certFile && { cert: await readText(certFile) }),
    ...(keyFile && { key: await readText(keyFile) }),
  };
  return {
    // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
    rejectUnauthorized: !insecure,
    ...(caFile ? { ...own, ca: await readText(caFile) } : systemAuthorities(own)),
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
  [/^CERT_HAS_EXPIRED$/, 'its certificate has expired', 'renew the certificate of that server'],
  [/^CERT_NOT_YET_VALID$/, 'its certificate is not valid yet', "check this host's clock"],
  [/SELF_SIGNED|^UNABLE_TO/, 'the authority of its certificate is not known here', SET_CA],
  [/ALTNAME/, 'its certificate is for another name', 'use the name that is in the certificate'],
  [
    /CERTIFICATE_REQUIRED/,
    'it demands a client certificate',
    'set cert and key in the login (clouds.yaml, cloud.conf)',
  ],
  [
    /^ERR_PROXY/,
    'the proxy of HTTPS_PROXY or HTTP_PROXY refuses it',
    'correct that variable, or add the host to NO_PROXY',
  ],
  [/^EPROTO$|^ERR_SSL/, 'it does not speak TLS or refuses the handshake', 'check whether its URL begins with http:'],
];

/** Failures that another attempt would meet again. */
const FINAL = /^(ETIMEDOUT$|ERR_PROXY|CERT_|ERR_TLS|ERR_SSL|UNABLE_TO|SELF_SIGNED|DEPTH_ZERO)/;

function connectionError(origin: string, code: string): KmsError {
  const [, text, remedy] = PROBLEMS.find(([codes]) => codes.test(code)) ?? [undefined, `failed (${code})`];
  return unavailable(`${origin}: ${text}`, { remedy });
}
