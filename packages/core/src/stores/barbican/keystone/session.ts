import { setTimeout as sleep } from 'node:timers/promises';
import { unlessAborted } from '../../../util/abort.ts';
import { KmsError } from '../../../errors.ts';
import { SingleFlight } from '../../../util/single-flight.ts';
import type { SharedResource } from '../../../util/shared-resources.ts';
import { findEndpoint } from './catalog.ts';
import type { Cloud } from './cloud.ts';
import type { CloudConfiguration } from './configuration.ts';
import { HttpClient } from './http.ts';
import type { HttpAnswer, HttpRequest } from './http.ts';
import { login } from './token.ts';
import type { Token } from './token.ts';

/** ms that one login may take. */
const LOGIN_TIMEOUT_MS = 10_000;
/** A token is renewed in the background when less than this part of its life is left ... */
const RENEW_AT = 0.2;
/** ... and is not used any more when less than this many ms are left: it must outlive the request. */
const LAST_MS = 5_000;
/** Pause after a login that failed, in ms; doubled at each further one. */
const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** Keystone's times are whole seconds: a token made in the second in which its user was changed is born dead. */
const BORN_DEAD_MS = 1_100;
/** A token younger than this says what is so now. */
export const JUST_ISSUED_MS = 5_000;

export interface ServiceRequest extends Pick<HttpRequest, 'method' | 'headers' | 'body'> {
  /** Below the service's URL, with a slash in front. */
  readonly path: string;
  readonly signal: AbortSignal;
  /** Least `issuedAt` that the token must have: for an answer that says for certain what is so. */
  readonly tokenSince?: number;
}

export interface ServiceAnswer extends HttpAnswer {
  /** The token that it was given for. */
  readonly token: Token;
}

/**
 * One login to one cloud, for all who use it: the token is got when it is needed, shared, renewed ahead of its end, and got anew when
 * a service refuses it or its credential changed on disk.
 */
export class KeystoneSession implements SharedResource {
  readonly #configuration: CloudConfiguration;
  readonly #http = new HttpClient();
  readonly #logins = new SingleFlight<Login>();
  readonly #closed = new AbortController();
  #login: Login | undefined;
  #failure:
    | { readonly error: KmsError; readonly until: number; readonly fingerprint: string; readonly count: number }
    | undefined;

  constructor(configuration: CloudConfiguration) {
    this.#configuration = configuration;
  }

  /**
   * A token that is good as far as we know.
   * @param since - least `issuedAt` that it must have
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` with what Keystone or the network said; at once while the last try was
   * only just
   */
  async token(signal: AbortSignal, since = -Infinity): Promise<Token> {
    return (await this.#current(signal, since)).token;
  }

  /**
   * Sends a request with a token to the key manager. A 401 makes it log in anew and send once more, and a last time after a second.
   * The answer may be an error of the service.
   * @throws {@link KmsError} as {@link KeystoneSession.token}
   */
  async keyManager({ path, tokenSince, ...request }: ServiceRequest): Promise<ServiceAnswer> {
    let since = tokenSince ?? -Infinity;
    for (let attempt = 1; ; attempt++) {
      const { login, base } = await this.#withEndpoint(request.signal, since);
      const { cloud, token } = login;
      const url = `${base.replace(/\/v1$/, '')}/v1${path}`;
      const headers = { ...request.headers, 'x-auth-token': token.value };
      const answer = await this.#http.send({ ...request, url, headers, tls: cloud });
      if (answer.status !== 401) return { ...answer, token };
      if (attempt === 3) {
        const message = `${new URL(url).origin} refuses a token that Keystone has just given to ${cloud.credential}; its access rules may not allow this request`;
        throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', message);
      }
      if (attempt === 2) await unlessAborted(sleep(BORN_DEAD_MS), request.signal);
      // Newer than the one that was refused; whoever was refused with us shares the login.
      since = token.issuedAt + 0.001;
    }
  }

  /** Where the key manager is, by the catalog or the settings. @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` */
  async keyManagerUrl(signal: AbortSignal): Promise<string> {
    return (await this.#withEndpoint(signal, -Infinity)).base;
  }

  close(): void {
    this.#closed.abort(new KmsError('ERR_KMS_CLOSED', 'this key store was closed'));
    this.#login = undefined;
    this.#http.close();
  }

  /** A catalog that lacks the service is as old as its token: looked up once more in a new one. */
  async #withEndpoint(signal: AbortSignal, since: number): Promise<{ readonly login: Login; readonly base: string }> {
    const find = ({ cloud, token }: Login) =>
      cloud.keyManagerEndpoint ?? findEndpoint(token.catalog, 'key-manager', cloud);
    const login = await this.#current(signal, since);
    try {
      return { login, base: find(login) };
    } catch (error) {
      const newest = performance.now() - JUST_ISSUED_MS;
      if (login.token.issuedAt > newest) throw error;
      const renewed = await this.#current(signal, newest);
      return { login: renewed, base: find(renewed) };
    }
  }

  async #current(signal: AbortSignal, since: number): Promise<Login> {
    const read = await this.#configuration.read().catch((error: unknown) => error as KmsError);
    // Looked at only now: others may have logged in meanwhile.
    const now = performance.now();
    const known = this.#login;
    const usable = known && known.token.issuedAt >= since && known.token.expiresAt - now > LAST_MS ? known : undefined;
    if (read instanceof Error) {
      // Perhaps it is being written at this moment; what we have is still good.
      if (usable) return usable;
      throw read;
    }
    if (usable?.fingerprint === read.fingerprint) {
      const { token } = usable;
      const renew = token.expiresAt - now < RENEW_AT * (token.expiresAt - token.issuedAt);
      if (renew) void this.#logIn(read).catch(() => undefined);
      return usable;
    }
    return unlessAborted(this.#logIn(read), signal);
  }

  /** One login at a time for each content of the configuration, and none while the last failure is only just over. */
  #logIn({ cloud, fingerprint }: Read): Promise<Login> {
    return this.#logins.run(fingerprint, async () => {
      const failure = this.#failure;
      if (failure?.fingerprint === fingerprint && performance.now() < failure.until) throw failure.error;
      const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(LOGIN_TIMEOUT_MS)]);
      try {
        const token = await login(cloud, this.#http, signal);
        this.#failure = undefined;
        this.#login = { cloud, fingerprint, token };
        return this.#login;
      } catch (error) {
        const failed = this.#closed.signal.aborted
          ? KmsError.from(this.#closed.signal.reason, 'ERR_KMS_CLOSED', 'closed')
          : notInTime(KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', 'the login failed'), cloud);
        const count = failure?.fingerprint === fingerprint ? failure.count + 1 : 1;
        const wait = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (count - 1)) * (0.75 + 0.5 * Math.random());
        this.#failure = { error: failed, until: performance.now() + wait, fingerprint, count };
        throw failed;
      }
    });
  }
}

interface Read {
  readonly cloud: Cloud;
  readonly fingerprint: string;
}

interface Login extends Read {
  readonly token: Token;
}

/** The deadline of a login is ours, not the caller's. */
function notInTime(error: KmsError, cloud: Cloud): KmsError {
  if (error.code !== 'ERR_KMS_DEADLINE_EXCEEDED') return error;
  const message = `Keystone (${new URL(cloud.authUrl).origin}) did not answer within ${LOGIN_TIMEOUT_MS / 1000} s`;
  return new KmsError('ERR_KMS_STORE_UNAVAILABLE', message);
}
