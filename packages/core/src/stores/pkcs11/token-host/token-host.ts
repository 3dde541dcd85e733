import { unlessAborted } from '../../../util/abort.ts';
import { KmsError } from '../../../errors.ts';
import { SingleFlight } from '../../../util/single-flight.ts';
import { BackOff } from './back-off.ts';
import { NotBegun, TokenFailure } from './call.ts';
import type { CallOptions, LoginAttempt } from './call.ts';
import { callsAhead } from './calls-ahead.ts';
import { CallsUnderWay } from './calls-under-way.ts';
import { FailureStreak } from './failure-streak.ts';
import { FairQueue } from './fair-queue.ts';
import { HostProcess } from './host-process.ts';
import type { Ask, OperationName, Operations, RepliesAbout, Reply } from './protocol.ts';
import type { SealedChannel } from './sealed-channel.ts';

export interface TokenHostOptions {
  readonly modulePath: string;
  /** Threads of the host, each with a session of its own: calls that the token may do at a time. */
  readonly sessions: number;
  /** ms after which a call of the module counts as hung. */
  readonly callTimeoutMs: number;
  /** See {@link HostProcessOptions.withheld}. */
  readonly withheld?: ReadonlySet<string>;
  readonly report?: (event: TokenHostEvent) => void;
}

export type TokenHostEvent =
  | { readonly type: 'token-host-started'; readonly module: string; readonly pid: number | undefined }
  | {
      readonly type: 'token-host-ended';
      readonly module: string;
      readonly reason: string;
      readonly restartInMs: number;
    };

/** What a call carries over: its parts are sealed for the process that gets it, which may be the second. */
type Build = (channel: SealedChannel) => Ask;

interface Call extends CallOptions {
  readonly build: Build;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  retried: boolean;
}

/** ms that the module may take to initialise. */
const START_TIMEOUT_MS = 30_000;
const WATCH_MS = 100;
/** ms in which calls that are under way at the end should be answered. */
const QUIET_MS = 150;
/** Calls wait for a restart that is at most so many ms away. */
const WORTH_WAITING_MS = 1_000;

/**
 * The plugin's side of the token host: one child process for each module, started when it is first needed, killed when
 * it hangs, started again when it ends. A call that a dead process has left is done once more by the next.
 */
export class TokenHost {
  readonly #options: TokenHostOptions;
  readonly #queue = new FairQueue<Call>();
  readonly #underWay: CallsUnderWay<Call>;
  readonly #backOff = new BackOff();
  /** One login is for all who have the same PIN for the same token. */
  readonly logins = new SingleFlight<LoginAttempt>();
  readonly counters = {
    token_host_starts: 0,
    token_host_calls: 0,
    token_host_retries: 0,
    token_host_messages: 0,
    token_sessions_opened: 0,
  };
  #process: HostProcess | undefined;
  #channel: SealedChannel | undefined;
  #watch: NodeJS.Timeout | undefined;
  #restart: NodeJS.Timeout | undefined;
  #flushing = false;
  #ahead = callsAhead(undefined);
  #bornAt = 0;
  #streak = new FailureStreak(0);
  #lastEnd = '';
  #renewed = false;
  #onQuiet: (() => void) | undefined;
  #closed = false;

  constructor(options: TokenHostOptions) {
    this.#options = options;
    this.#underWay = new CallsUnderWay(options.callTimeoutMs);
  }

  /** How many processes there were; what was set up in one (a login) is not there in the next. */
  get generation(): number {
    return this.counters.token_host_starts;
  }

  /**
   * @throws {@link TokenFailure} what the token answered; {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` where no process
   * could answer, `ERR_KMS_CLOSED`, and what `signal` was aborted for
   */
  call<Name extends OperationName>(
    build: (channel: SealedChannel) => { readonly op: Name } & Operations[Name]['ask'],
    options: CallOptions,
  ): Promise<Operations[Name]['answer']> {
    const answer = new Promise<unknown>((resolve, reject) => {
      if (this.#closed) return reject(new KmsError('ERR_KMS_CLOSED', 'the token host was closed'));
      this.#queue.push(options.owner, { build: build as Build, ...options, resolve, reject, retried: false });
      // Together with what is asked in the same turn, or at once when there is enough for all threads.
      if (this.#queue.length + this.#underWay.size === this.#most) this.#flush();
      else this.#flushSoon();
    });
    return unlessAborted(answer, options.signal) as Promise<Operations[Name]['answer']>;
  }

  /**
   * Goes on in a new process: in some modules one sees only the keys that were there when it began. Not while a PIN may be
   * on its way to the token, as nobody would know what became of it.
   * @param generation - the one that is not good enough; where there is a younger one nothing happens
   */
  renew(generation: number, reason: string): void {
    if (this.generation !== generation || !this.#process) return;
    const login = this.#underWay.calls.some(({ once }) => once);
    if (login) throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${reason} when no login is under way`);
    this.#renewed = true;
    this.#process.kill(reason);
  }

  /** Whoever made calls as `owner` makes no more. */
  forget(owner: object): void {
    this.#streak.forget(owner);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#restart);
    this.#rejectAll(new KmsError('ERR_KMS_CLOSED', 'the token host was closed'));
    if (!(await this.#quiet())) this.#process?.kill('it was stopped, and a call did not end');
    await this.#process?.stop();
  }

  /** All that is asked in one turn of the event loop goes in one message. */
  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  get #most(): number {
    return this.#options.sessions * this.#ahead;
  }

  #flush(): void {
    if (this.#queue.length === 0 || this.#closed) return;
    if (!this.#process) return this.#startOrRefuse();
    if (!this.#channel) return;
    // Not one by one: under load a message carries several.
    if (this.#underWay.size > this.#most - this.#options.sessions / 2) return;
    const requests = [];
    while (this.#underWay.size < this.#most) {
      const call = this.#queue.shift();
      if (!call) break;
      // Who does not wait any more costs the token nothing.
      if (call.signal.aborted) continue;
      const ask = call.build(this.#channel);
      requests.push({ id: this.#underWay.add(call, ask.op), ask });
    }
    if (requests.length === 0) return;
    this.#underWay.startClocks(this.#process.threads);
    this.counters.token_host_calls += requests.length;
    this.counters.token_host_messages++;
    this.#process.request(requests);
    this.#watch ??= setInterval(() => this.#killIfHung(), WATCH_MS).unref();
  }

  #startOrRefuse(): void {
    const waitMs = this.#backOff.waitMs(performance.now());
    if (waitMs > WORTH_WAITING_MS) {
      const inSeconds = Math.ceil(waitMs / 1_000);
      return this.#rejectAll(
        new NotBegun('ERR_KMS_STORE_UNAVAILABLE', `the token host: ${this.#lastEnd}; started again in ${inSeconds} s`),
      );
    }
    if (waitMs > 0) {
      this.#restart ??= setTimeout(() => {
        this.#restart = undefined;
        this.#flush();
      }, waitMs);
      return;
    }
    this.#start();
  }

  #start(): void {
    const { modulePath, sessions, callTimeoutMs, withheld, report } = this.#options;
    this.counters.token_host_starts++;
    this.#bornAt = performance.now();
    this.#streak = new FailureStreak(this.#bornAt);
    let host: HostProcess;
    try {
      host = new HostProcess({
        modulePath,
        sessions,
        callTimeoutMs,
        withheld,
        onReplies: (replies, about) => this.#answered(replies, about),
        onEnd: (reason) => this.#ended(reason),
      });
    } catch (error) {
      // No memory for another process, say. Nobody else's concern.
      return this.#ended((error as Error).message);
    }
    this.#process = host;
    const timer = setTimeout(
      () => host.kill(`the module did not initialise within ${START_TIMEOUT_MS / 1_000} s`),
      START_TIMEOUT_MS,
    ).unref();
    void host.started.then((channel) => {
      clearTimeout(timer);
      this.#channel = channel;
      report?.({ type: 'token-host-started', module: modulePath, pid: host.pid });
      this.#flush();
    });
  }

  #answered(replies: readonly Reply[], { sessionsOpened, keyMs, putBack }: RepliesAbout): void {
    this.#ahead = callsAhead(keyMs);
    this.counters.token_host_messages++;
    this.counters.token_sessions_opened += sessionsOpened;
    let last = '';
    for (const reply of replies) {
      const sent = this.#underWay.take(reply.id);
      const kind = reply.failure?.kind;
      if (sent && (kind === 'unavailable' || kind === 'not-begun')) this.#streak.note(sent.call.owner, false);
      // tpm2-pkcs11 goes on finding tokens and keys when its TPM is gone.
      else if (sent && sent.op !== 'token' && sent.op !== 'list') this.#streak.note(sent.call.owner, true);
      if (reply.failure) {
        last = reply.failure.message;
        sent?.call.reject(new TokenFailure(reply.failure));
      } else sent?.call.resolve(reply.value);
    }
    if (this.#underWay.size === 0) {
      this.#stopWatch();
      this.#onQuiet?.();
    }
    this.#underWay.putBack(putBack);
    if (this.#process) this.#underWay.startClocks(this.#process.threads);
    if (this.#streak.hopelessAt(performance.now())) this.#process?.kill(`the module fails again and again: ${last}`);
    this.#flushSoon();
  }

  /** Only once what has come is read: where it was this process that stood still, the answer is in the pipe. */
  #killIfHung(): void {
    setImmediate(() => {
      if (this.#underWay.hung()) this.#process?.kill('the module hung');
    });
  }

  #ended(reason: string): void {
    const { modulePath, report } = this.#options;
    this.#process = undefined;
    this.#channel = undefined;
    this.#stopWatch();
    const restartInMs = this.#renewed ? 0 : this.#backOff.ended(performance.now(), this.#bornAt);
    this.#renewed = false;
    this.#lastEnd = reason;
    if (!this.#closed) report?.({ type: 'token-host-ended', module: modulePath, reason, restartInMs });
    for (const call of this.#underWay.takeAll()) {
      if (call.retried || call.once || this.#closed) {
        call.reject(new KmsError('ERR_KMS_STORE_UNAVAILABLE', `the token host: ${reason}`));
        continue;
      }
      call.retried = true;
      this.counters.token_host_retries++;
      this.#queue.push(call.owner, call);
    }
    this.#flush();
  }

  #rejectAll(error: KmsError): void {
    for (const call of this.#queue.drain()) call.reject(error);
    if (this.#closed) for (const call of this.#underWay.calls) call.reject(error);
  }

  /** Whether all calls under way are answered, which they are given a moment for: a probe may be among them at any time. */
  async #quiet(): Promise<boolean> {
    if (this.#underWay.size === 0 || !this.#process) return true;
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), QUIET_MS);
      this.#onQuiet = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }

  #stopWatch(): void {
    clearInterval(this.#watch);
    this.#watch = undefined;
  }
}
