import type { RemoteContext } from '../../service/local-kek/remote-kek.ts';
import { KmsError, unavailable } from '../../errors.ts';
import { unlessAborted } from '../../util/abort.ts';
import type { Clock } from '../../util/clock.ts';
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

/** Each of these is repeated once: a new process or a new login may help. A lost session is repeated in the token host. */
const REPEATED: ReadonlySet<FailureKind> = new Set(['host-ended', 'no-login']);

export interface TokenOptions {
  readonly uri: Pkcs11Uri;
  readonly host: Pick<TokenHost, 'call' | 'channel' | 'counters' | 'generation' | 'logins'>;
  readonly stateDirectory: string;
  readonly clock: Clock;
  /** See {@link PinLedgerOptions.scrypt}. */
  readonly scrypt?: PinLedgerOptions['scrypt'];
}

interface Login {
  /** The process of the token host that it is for. */
  readonly generation: number;
  /** `undefined` once it has succeeded. */
  pending: Promise<void> | undefined;
}

/** One instance's view of its token: logs in when that is needed, and repeats what a lost process or login has undone. */
export class Token {
  readonly #options: TokenOptions;
  #login: Login | undefined;
  logins = 0;

  constructor(options: TokenOptions) {
    this.#options = options;
  }

  /**
   * Asks the token host, as a logged-in user.
   * @throws {@link KmsError} `ERR_KMS_UNWRAP_FAILED`, `ERR_KMS_KEY_GONE`, `ERR_KMS_STORE_UNAVAILABLE` with the
   * {@link TokenFailure} as its cause, or what `signal` was aborted for
   */
  call<Name extends OperationName>(
    ask: Ask<Name>,
    context: RemoteContext,
    timeoutMs?: number,
  ): Promise<Operations[Name]['answer']> {
    let login: Login | undefined;
    const work = async () => {
      login = this.#loggedIn();
      if (login.pending) await unlessAborted(login.pending, context.signal);
      return this.#ask(ask, context, timeoutMs);
    };
    // The login went with the token or its last session. All calls that find this out share a new one.
    return this.#repeated(work, () => {
      if (this.#login === login) this.#login = undefined;
    });
  }

  /** Describes the token, without a login. */
  info(context: RemoteContext): Promise<TokenInfo> {
    return this.#repeated(() => this.#ask({ op: 'token', token: this.#options.uri.token }, context));
  }

  #ask<Name extends OperationName>(ask: Ask<Name>, { signal }: RemoteContext, timeoutMs?: number) {
    return this.#options.host.call(ask, { owner: this, signal, timeoutMs });
  }

  async #repeated<T>(work: () => Promise<T>, onNoLogin = () => {}): Promise<T> {
    const repeated = new Set<FailureKind>();
    for (;;) {
      try {
        return await work();
      } catch (error) {
        const kind = kindOf(error);
        // A login reports its own failures, and is not repeated.
        if (error instanceof KmsError || !kind || !REPEATED.has(kind) || repeated.has(kind)) throw toKmsError(error);
        repeated.add(kind);
        if (kind === 'host-ended') this.#options.host.counters.token_host_retries++;
        else onNoLogin();
      }
    }
  }

  /** Returns the login to the process that the next call goes to, and begins it where there is none. */
  #loggedIn(): Login {
    const { host, clock } = this.#options;
    if (this.#login?.generation === host.generation) return this.#login;
    const pending = this.#logIn(host.generation);
    const login: Login = { generation: host.generation, pending };
    this.#login = login;
    const forget = () => {
      if (this.#login === login) this.#login = undefined;
    };
    pending.then(
      () => (login.pending = undefined),
      () => clock.after(FAILURE_TTL_MS, forget),
    );
    return login;
  }

  /** Not by a caller's signal: others wait for it too, and a login that is cut off has no known outcome. */
  async #logIn(generation: number): Promise<void> {
    const { uri, host, stateDirectory } = this.#options;
    if (!(await this.#needsLogin())) return;
    // Instances by the hundred start at once.
    const same = JSON.stringify([uri.token, uri.pinSource, stateDirectory, generation]);
    await host.logins.run(same, () => this.#showPin());
  }

  /** Returns what the token says of itself, unless the process is logged in. Private objects always need a login. */
  async #needsLogin(): Promise<TokenInfo | undefined> {
    const info = await this.info({ signal: AbortSignal.timeout(2 * LOGIN_TIMEOUT_MS) });
    return info.loggedIn ? undefined : info;
  }

  async #showPin(): Promise<void> {
    const info = await this.#needsLogin();
    if (!info) return;
    const { uri, host, stateDirectory, clock, scrypt } = this.#options;
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
      return (await this.#ask(ask, { signal }, LOGIN_TIMEOUT_MS)) ? 'ok' : 'already';
    } catch (error) {
      const kind = kindOf(error);
      if (kind === 'pin-refused') return 'refused';
      if (kind === 'pin-locked') return 'locked';
      throw toKmsError(error);
    }
  }
}

function toKmsError(error: unknown): KmsError {
  if (!(error instanceof TokenFailure)) return KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
  const { kind, message } = error;
  if (kind === 'refused') {
    return new KmsError('ERR_KMS_UNWRAP_FAILED', `the token refuses these bytes: ${message}`, { cause: error });
  }
  if (kind === 'no-key' || kind === 'forbidden') return new KmsError('ERR_KMS_KEY_GONE', message, { cause: error });
  return unavailable(kind === 'host-ended' || kind === 'not-begun' ? message : `the token: ${message}`, {
    cause: error,
  });
}
