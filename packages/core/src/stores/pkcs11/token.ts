import type { RemoteContext } from '../../service/local-kek/remote-kek.ts';
import { KmsError, unavailable } from '../../errors.ts';
import { unlessAborted } from '../../util/abort.ts';
import type { Clock } from '../../util/clock.ts';
import { moduleNeeds } from './module-needs.ts';
import { PinLedger } from './pin-ledger.ts';
import type { LoginOutcome, PinLedgerOptions } from './pin-ledger.ts';
import { readPin } from './pin-source.ts';
import { kindOf, TokenFailure } from './token-host/protocol.ts';
import type { Ask, FailureKind, OperationName, Operations, TokenInfo } from './token-host/protocol.ts';
import type { TokenHost } from './token-host/token-host.ts';
import type { Pkcs11Uri } from './uri.ts';

/** ms that a login may take: some tokens make it slow on purpose. */
const LOGIN_TIMEOUT_MS = 30_000;
/** ms for which calls share a login that failed: each look at the record of PINs is slow on purpose. */
const FAILURE_TTL_MS = 1_000;

/** How often a call is repeated: once in a new process, and once in each process that is not logged in. */
const REPEATS: Partial<Record<FailureKind, number>> = { 'host-ended': 1, 'no-login': 2 };

export interface TokenOptions {
  readonly uri: Pkcs11Uri;
  readonly host: Pick<TokenHost, 'call' | 'channel' | 'counters' | 'generation' | 'isReducedToOneThread' | 'logins'>;
  readonly stateDirectory: string;
  readonly clock: Clock;
  /** See {@link PinLedgerOptions.scrypt}. */
  readonly scrypt?: PinLedgerOptions['scrypt'];
}

/** One instance's view of its token: logs in when that is needed, and repeats what a lost process or login has undone. */
export class Token {
  readonly #options: TokenOptions;
  logins = 0;

  constructor(options: TokenOptions) {
    this.#options = options;
  }

  /**
   * Asks the token host, and logs in if the token host says that its process is not logged in. Only the `token` operation
   * needs no login.
   * @throws {@link KmsError} `ERR_KMS_UNWRAP_FAILED`, `ERR_KMS_KEY_GONE`, `ERR_KMS_STORE_UNAVAILABLE` with the
   * {@link TokenFailure} as its cause, or what `signal` was aborted for
   */
  async call<Name extends OperationName>(
    ask: Ask<Name>,
    { signal }: RemoteContext,
    timeoutMs?: number,
  ): Promise<Operations[Name]['answer']> {
    const { host } = this.#options;
    const left = { ...REPEATS };
    for (;;) {
      try {
        return await host.call(ask, { owner: this, signal, timeoutMs });
      } catch (error) {
        const kind = kindOf(error);
        // A login begins with this operation: it would wait for itself.
        const ofLogin = ask.op === 'token' && kind === 'no-login';
        if (!kind || !left[kind] || ofLogin) throw this.#toKmsError(error);
        left[kind]--;
        if (kind === 'host-ended') host.counters.token_host_retries++;
        else await unlessAborted(this.#loggedIn(), signal);
      }
    }
  }

  /** Whether its calls go one after the other, because the module has a login for each thread. */
  get usesOneThread(): boolean {
    return this.#options.host.isReducedToOneThread;
  }

  /** Describes the token, without a login. */
  info(context: RemoteContext): Promise<TokenInfo> {
    return this.call({ op: 'token', token: this.#options.uri.token }, context);
  }

  /** One login serves all calls, and all instances with the same PIN for the same token: hundreds start at once. */
  #loggedIn(): Promise<void> {
    const { uri, host, stateDirectory, clock } = this.#options;
    const name = JSON.stringify([uri.token, uri.pinSource, stateDirectory, host.generation]);
    const underWay = host.logins.get(name);
    if (underWay) return underWay;
    const login = this.#logIn();
    host.logins.set(name, login);
    const forget = () => void host.logins.delete(name);
    login.then(forget, () => clock.after(FAILURE_TTL_MS, forget));
    return login;
  }

  /** Not by a caller's signal: others wait for it too, and a login that is cut off has no known outcome. */
  async #logIn(): Promise<void> {
    const { uri, host, stateDirectory, clock, scrypt } = this.#options;
    const info = await this.info({ signal: AbortSignal.timeout(2 * LOGIN_TIMEOUT_MS) });
    if (info.loggedIn) return;
    const pin = await readPin(uri.pinSource, process.env);
    try {
      const ask = { op: 'login', token: uri.token, pin: host.channel.seal(pin) } as const;
      const ledger = new PinLedger(stateDirectory, info, { clock, scrypt });
      await ledger.attempt(pin, info, () => this.#tryLogin(ask));
    } finally {
      pin.wipe();
    }
  }

  /** Never repeated: where the process ends, the token may have seen the PIN. */
  async #tryLogin(ask: Ask<'login'>): Promise<LoginOutcome> {
    this.logins++;
    try {
      const signal = AbortSignal.timeout(2 * LOGIN_TIMEOUT_MS);
      return (await this.#options.host.call(ask, { owner: this, signal, timeoutMs: LOGIN_TIMEOUT_MS }))
        ? 'ok'
        : 'already';
    } catch (error) {
      const kind = kindOf(error);
      if (kind === 'pin-refused') return 'refused';
      if (kind === 'pin-locked') return 'locked';
      if (kind === 'pin-not-set') return 'not-set';
      throw this.#toKmsError(error);
    }
  }

  #toKmsError(error: unknown): KmsError {
    if (!(error instanceof TokenFailure)) return KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
    const { kind, message } = error;
    if (kind === 'refused') {
      return new KmsError('ERR_KMS_UNWRAP_FAILED', `the token refuses these bytes: ${message}`, { cause: error });
    }
    if (kind === 'no-key' || kind === 'forbidden') return new KmsError('ERR_KMS_KEY_GONE', message, { cause: error });
    const isOfHost = kind === 'host-ended' || kind === 'not-begun';
    const remedy = isOfHost || kind === 'unavailable' ? moduleNeeds(this.#options.uri.module) : undefined;
    return unavailable(isOfHost ? message : `the token: ${message}`, { cause: error, remedy });
  }
}
