import { KmsError, unavailable } from '../../../errors.ts';
import { unlessAborted } from '../../../util/abort.ts';
import { backOffMs } from '../../../util/back-off.ts';
import { sleep, systemClock } from '../../../util/clock.ts';
import type { Clock } from '../../../util/clock.ts';
import type { ExposureEvent, SharedResource } from '../../../util/shared-resources.ts';
import { SingleFlight } from '../../../util/single-flight.ts';
import { findEndpoint } from './catalog.ts';
import type { Endpoint } from './catalog.ts';
import type { Cloud, CloudEvent } from './cloud.ts';
import type { CloudConfiguration } from './configuration.ts';
import { HttpClient } from './http.ts';
import type { HttpAnswer, HttpRequest } from './http.ts';
import { login } from './token.ts';
import type { Token } from './token.ts';

/** A token is renewed in the background when less than this part of its life is left. */
const RENEW_AT = 0.2;
/** A token with less than this left, in ms, is not used: it must outlive the request. */
const LAST_MS = 5_000;
/** Between failed logins. */
const BACK_OFF = { firstMs: 500, longestMs: 30_000 };
/** Keystone's times are whole seconds: a token issued in the second in which its user was changed is invalid from the start. */
const BORN_DEAD_MS = 1_100;
/** A token younger than this, in ms, reflects the present roles and project. */
const JUST_ISSUED_MS = 5_000;

export interface ServiceRequest extends Pick<HttpRequest, 'method' | 'headers' | 'body'> {
  /** Below the service's URL, with a slash in front. */
  readonly path: string;
  readonly signal: AbortSignal;
  /** Send it with a token just issued, so that a refusal is certain. */
  readonly justIssued?: boolean;
}

export interface ServiceAnswer extends HttpAnswer {
  readonly token: Token;
  /** The token was issued at most 5 s before the answer. */
  readonly justIssued: boolean;
  /** URL, region and project that the answer comes from, for comparisons and for people. */
  readonly place: string;
}

interface Login {
  readonly cloud: Cloud;
  /** A hash of the cloud. */
  readonly fingerprint: string;
  readonly token: Token;
}

/**
 * One login to one cloud, shared by all instances that log in in the same way. It gets a token when one is needed and renews it before it
 * expires. It gets a new one when a service refuses the token or when the credential changes on disk.
 */
export class KeystoneSession implements SharedResource {
  readonly #configuration: CloudConfiguration;
  readonly #clock: Clock;
  readonly #report: (event: CloudEvent | ExposureEvent) => void;
  readonly #http: HttpClient;
  readonly #logins = new SingleFlight<Login>();
  readonly #closed = new AbortController();
  #login: Login | undefined;
  /** The fingerprint of the last login that was reported. */
  #reported: string | undefined;
  #failure: { fingerprint: string; error: KmsError; count: number; until: number } | undefined;

  /** @param report - hears once of each login that somebody in between could read */
  constructor(
    configuration: CloudConfiguration,
    clock: Clock = systemClock,
    report: (event: CloudEvent | ExposureEvent) => void = () => undefined,
  ) {
    this.#report = report;
    this.#configuration = configuration;
    this.#clock = clock;
    this.#http = new HttpClient(clock);
  }

  /**
   * Returns a token that should still be valid.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` with the answer of Keystone or the network. During the back-off after a failed
   * login it is thrown at once
   */
  async token(signal: AbortSignal): Promise<Token> {
    return (await this.#current(signal)).token;
  }

  /**
   * Sends a request to the key manager. After a 401 it logs in again and repeats the request, for the last time after one second. The
   * answer may be an error of the service.
   * @throws {@link KmsError} as {@link KeystoneSession.token}
   */
  async keyManager({ path, justIssued = false, ...request }: ServiceRequest): Promise<ServiceAnswer> {
    let since = justIssued ? this.#clock.now() - JUST_ISSUED_MS : -Infinity;
    for (let attempt = 1; ; attempt++) {
      const { cloud, token, endpoint } = await this.#withEndpoint(request.signal, since);
      const url = `${endpoint.url}/v1${path}`;
      const headers = { ...request.headers, 'x-auth-token': token.value };
      const answer = await this.#http.send({
        ...request,
        url,
        headers,
        tls: cloud,
        secrets: [token.value, ...cloud.secrets],
      });
      if (answer.status !== 401) {
        return { ...answer, token, justIssued: this.#isJustIssued(token), place: placeOf(endpoint, token) };
      }
      if (attempt === 3) {
        const refused = `${new URL(url).origin} refuses a token that Keystone has just given to ${cloud.credential}`;
        throw unavailable(`${refused}; its access rules may not allow this request`, {
          remedy: `allow ${request.method} ${rulePath(url)} of key-manager in the access rules of the application credential, or see Barbican's log`,
        });
      }
      if (attempt === 2) await unlessAborted(sleep(this.#clock, BORN_DEAD_MS, request.signal), request.signal);
      // Newer than the refused token. All requests that were refused with it share one login.
      since = token.issuedAt + 0.001;
    }
  }

  /** Whether certificates are verified. @throws {@link KmsError} as {@link KeystoneSession.token} */
  async verifiesCertificates(signal: AbortSignal): Promise<boolean> {
    return !(await this.#current(signal)).cloud.insecure;
  }

  /** The URLs of the settings to which secrets go without TLS. @throws {@link KmsError} as {@link KeystoneSession.token} */
  async plainUrls(signal: AbortSignal): Promise<string[]> {
    return plainUrlsOf((await this.#current(signal)).cloud);
  }

  /** Returns the URL of the key manager, from the settings or the catalog. @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` */
  async keyManagerUrl(signal: AbortSignal): Promise<string> {
    return (await this.#withEndpoint(signal)).endpoint.url;
  }

  close(): void {
    this.#closed.abort(new KmsError('ERR_KMS_CLOSED', 'this key store was closed'));
    this.#login = undefined;
    this.#http.close();
  }

  #isJustIssued({ issuedAt }: Token): boolean {
    return this.#clock.now() - issuedAt <= JUST_ISSUED_MS;
  }

  /** The catalog is as old as the token, so a service that it lacks is looked up once more in a new one. */
  async #withEndpoint(signal: AbortSignal, since?: number): Promise<Login & { readonly endpoint: Endpoint }> {
    const login = await this.#current(signal, since);
    try {
      return { ...login, endpoint: endpointOf(login) };
    } catch (error) {
      if (this.#isJustIssued(login.token)) throw error;
      return this.#withEndpoint(signal, this.#clock.now() - JUST_ISSUED_MS);
    }
  }

  /** @param since - least `issuedAt` of the token */
  async #current(signal: AbortSignal, since = -Infinity): Promise<Login> {
    const read = await this.#configuration.read().catch((error: unknown) => error as KmsError);
    // Only after the read: others may have logged in meanwhile.
    const now = this.#clock.now();
    const known = this.#login;
    const usable = known && known.token.issuedAt >= since && known.token.expiresAt - now > LAST_MS ? known : undefined;
    if (read instanceof Error) {
      // Somebody may be writing the file at this moment. The token in hand is still good.
      if (usable) return usable;
      throw read;
    }
    if (usable?.fingerprint !== read.fingerprint) return unlessAborted(this.#logIn(read), signal);
    const { expiresAt, issuedAt } = usable.token;
    if (expiresAt - now < RENEW_AT * (expiresAt - issuedAt)) void this.#logIn(read).catch(() => undefined);
    return usable;
  }

  #reportExposure(cloud: Cloud): void {
    if (cloud.insecure) this.#report({ type: 'certificates-not-verified', where: this.#configuration.where });
    const urls = plainUrlsOf(cloud);
    if (urls.length > 0) this.#report({ type: 'secret-exposed', text: inTheClear(urls), remedy: USE_HTTPS });
  }

  /** One login at a time for each content of the configuration, and none during the back-off after a failure. */
  #logIn({ cloud, fingerprint }: Omit<Login, 'token'>): Promise<Login> {
    return this.#logins.run(fingerprint, async () => {
      const before = this.#failure?.fingerprint === fingerprint ? this.#failure : undefined;
      if (before && this.#clock.now() < before.until) throw before.error;
      try {
        this.#login = { cloud, fingerprint, token: await login(cloud, this.#http, this.#clock, this.#closed.signal) };
        this.#failure = undefined;
        if (fingerprint !== this.#reported) this.#reportExposure(cloud);
        this.#reported = fingerprint;
        return this.#login;
      } catch (cause) {
        const error = KmsError.from(cause, 'ERR_KMS_STORE_UNAVAILABLE', 'the login failed');
        const count = (before?.count ?? 0) + 1;
        this.#failure = { error, fingerprint, count, until: this.#clock.now() + backOffMs(count, BACK_OFF) };
        throw error;
      }
    });
  }
}

/** As an access rule has it: the whole path of the URL, and one rule for all secrets. */
const rulePath = (url: string): string => new URL(url).pathname.replace(/(?<=\/secrets\/)[0-9a-f-]{36}(?=\/|$)/i, '*');

export const inTheClear = (urls: readonly string[]): string =>
  `${urls.join(' and ')} without TLS: passwords, tokens and keys cross the network in the clear`;

export const USE_HTTPS = 'use https in the auth URL and in endpoint';

/** Other hosts could read what is sent to them. */
const plainUrlsOf = ({ authUrl, keyManagerEndpoint }: Cloud): string[] =>
  [authUrl, keyManagerEndpoint].filter((url) => url !== undefined).filter(isPlain);

function isPlain(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === 'http:' && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
}

/** Some catalogs have the API's version in the URL, most have not. */
function endpointOf({ cloud, token: { catalog } }: Login): Endpoint {
  const { keyManagerEndpoint: url, region } = cloud;
  const found = url ? { url, region } : findEndpoint(catalog, 'key-manager', cloud);
  return { ...found, url: found.url.replace(/\/v1$/, '') };
}

function placeOf({ url, region }: Endpoint, { project }: Token): string {
  return [url, ...(region === undefined ? [] : [`region ${region}`]), `project ${project?.id ?? 'none'}`].join(', ');
}
