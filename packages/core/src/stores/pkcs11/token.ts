import { unlessAborted } from '../../util/abort.ts';
import { KmsError } from '../../errors.ts';
import type { RemoteContext } from '../../service/local-kek/remote-kek.ts';
import type { OperationName, Operations, TokenInfo } from './token-host/protocol.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import type { SealedChannel } from './token-host/sealed-channel.ts';
import { NotBegun, TokenFailure } from './token-host/call.ts';
import type { LoginAttempt } from './token-host/call.ts';
import type { TokenHost } from './token-host/token-host.ts';
import { PinLedger } from './pin-ledger.ts';
import type { LoginOutcome } from './pin-ledger.ts';
import { readPin } from './pin-source.ts';
import type { Pkcs11Uri } from './uri.ts';

/** ms that a login may take: a token may make it slow on purpose. */
const LOGIN_TIMEOUT_MS = 30_000;
/** ms for which a login that failed with the PIN answers for those that come next. */
const FAILURE_TTL_MS = 1_000;

export interface TokenOptions {
  readonly uri: Pkcs11Uri;
  readonly host: Pick<TokenHost, 'call' | 'generation' | 'logins'>;
  readonly stateDirectory: string;
}

interface Login {
  /** The life of the token host that it is for. */
  readonly generation: number;
  pending: Promise<void> | undefined;
  /** See {@link LoginAttempt}. */
  costly: boolean;
}

/** One instance's view of its token: logs in when that is needed, and says in our terms what goes wrong. */
export class Token {
  readonly #options: TokenOptions;
  #loggedIn: Login | undefined;
  logins = 0;

  constructor(options: TokenOptions) {
    this.#options = options;
  }

  /**
   * Has the token host do something as a logged-in user.
   * @throws {@link KmsError} `ERR_KMS_UNWRAP_FAILED`, `ERR_KMS_KEY_GONE`, `ERR_KMS_STORE_UNAVAILABLE`, or what `signal` was
   * aborted for
   */
  async call<Name extends OperationName>(
    build: (channel: SealedChannel) => { readonly op: Name } & Operations[Name]['ask'],
    { signal }: RemoteContext,
    timeoutMs?: number,
  ): Promise<Operations[Name]['answer']> {
    const { host } = this.#options;
    const options = { owner: this, signal, ...(timeoutMs !== undefined && { timeoutMs }) };
    const login = this.#login();
    const known = this.#loggedIn;
    try {
      if (login) await unlessAborted(login, signal);
      return await host.call(build, options);
    } catch (error) {
      if (!(error instanceof TokenFailure) || error.failure.kind !== 'no-login') throw inOurTerms(error);
    }
    // The login went with the process, the token or its last session. One new one is enough for all who find that out.
    if (this.#loggedIn === known) this.#loggedIn = undefined;
    try {
      await unlessAborted(this.#login() ?? Promise.resolve(), signal);
      return await host.call(build, options);
    } catch (error) {
      throw inOurTerms(error);
    }
  }

  /** What the token says of itself, without a login. */
  async info({ signal }: RemoteContext): Promise<TokenInfo> {
    const { uri, host } = this.#options;
    try {
      return await host.call(() => ({ op: 'token', token: uri.token }), { owner: this, signal });
    } catch (error) {
      throw inOurTerms(error);
    }
  }

  /** One for each life of the token host, whoever asks first; `undefined` where it is done. */
  #login(): Promise<void> | undefined {
    const { generation } = this.#options.host;
    const known = this.#loggedIn;
    if (known?.generation === generation) return known.pending;
    const login: Login = { generation: Math.max(1, generation), pending: undefined, costly: false };
    this.#loggedIn = login;
    login.pending = this.#logIn(login);
    login.pending.then(
      () => {
        login.pending = undefined;
      },
      () => {
        const forget = () => {
          if (this.#loggedIn === login) this.#loggedIn = undefined;
        };
        if (login.costly) setTimeout(forget, FAILURE_TTL_MS).unref();
        else forget();
      },
    );
    return login.pending;
  }

  /** Not by the caller's signal: others wait for it, and a login that is cut off leaves an open question. */
  async #logIn(login: Login): Promise<void> {
    const { uri, host, stateDirectory } = this.#options;
    if (!(await this.#needsLogin())) return;
    // The record of PINs is slow to look at on purpose, and instances by the hundred start at once.
    const same = JSON.stringify([uri.token, uri.pinSource, stateDirectory, login.generation]);
    const { costly, error } = await host.logins.run(same, () => this.#showPin());
    login.costly = costly;
    if (error) throw error as Error;
  }

  /**
   * What the token says of itself, unless somebody has logged in. Whether it wants a login (CKF_LOGIN_REQUIRED) is not asked:
   * private objects always do.
   */
  async #needsLogin(): Promise<TokenInfo | undefined> {
    const info = await this.info({ signal: AbortSignal.timeout(2 * LOGIN_TIMEOUT_MS) });
    return info.loggedIn ? undefined : info;
  }

  /** Never rejects: whoever waits for it wants to know how far it got. */
  async #showPin(): Promise<LoginAttempt> {
    let pin: SecretBytes | undefined;
    try {
      const info = await this.#needsLogin();
      if (!info) return { costly: false };
      pin = await readPin(this.#options.uri.pinSource, process.env);
      await this.#tryPin(pin, info);
      return { costly: true };
    } catch (error) {
      return { costly: pin !== undefined, error };
    } finally {
      pin?.wipe();
    }
  }

  async #tryPin(pin: SecretBytes, info: TokenInfo): Promise<void> {
    const { uri, host, stateDirectory } = this.#options;
    const signal = AbortSignal.timeout(2 * LOGIN_TIMEOUT_MS);
    await new PinLedger(stateDirectory, info).attempt(pin, info, async () => {
      this.logins++;
      const build = (channel: SealedChannel) => ({ op: 'login', token: uri.token, pin: channel.seal(pin) }) as const;
      try {
        const asked = await host.call(build, { owner: this, signal, timeoutMs: LOGIN_TIMEOUT_MS, once: true });
        return asked ? 'ok' : 'already';
      } catch (error) {
        return loginOutcome(error);
      }
    });
  }
}

function loginOutcome(error: unknown): LoginOutcome {
  const kind = error instanceof TokenFailure ? error.failure.kind : undefined;
  if (kind === 'not-begun') throw new NotBegun('ERR_KMS_STORE_UNAVAILABLE', `the token: ${(error as Error).message}`);
  if (kind === 'pin-refused') return 'refused';
  if (kind === 'pin-locked') return 'locked';
  throw inOurTerms(error);
}

function inOurTerms(error: unknown): KmsError {
  if (!(error instanceof TokenFailure))
    return KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', 'the token host failed');
  const { kind, message } = error.failure;
  switch (kind) {
    case 'refused':
      return new KmsError('ERR_KMS_UNWRAP_FAILED', `the token refuses these bytes: ${message}`);
    case 'no-key':
    case 'forbidden':
      return new KmsError('ERR_KMS_KEY_GONE', message);
    case 'no-login':
    case 'pin-refused':
    case 'pin-locked':
    case 'not-begun':
    case 'unusable':
    case 'unavailable':
      return new KmsError('ERR_KMS_STORE_UNAVAILABLE', `the token: ${message}`);
  }
}
