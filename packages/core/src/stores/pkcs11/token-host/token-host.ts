import { unavailable } from '../../../errors.ts';
import { unlessAborted } from '../../../util/abort.ts';
import { resolvesWithin } from '../../../util/timeout.ts';
import { CallsUnderWay } from './calls-under-way.ts';
import type { Call, CallOptions } from './calls-under-way.ts';
import { FairQueue } from './fair-queue.ts';
import { Owners } from './owners.ts';
import { HostProcess } from './host-process.ts';
import type { HostProcessOptions } from './host-process.ts';
import { TokenFailure } from './protocol.ts';
import type { Ask, OperationName, Operations, Reply } from './protocol.ts';
import { closed, NOT_SENT, notBegun } from './refusals.ts';
import { Restarts } from './restarts.ts';
import { newChannelKey, SealedChannel } from './sealed-channel.ts';

export interface TokenHostOptions extends Omit<HostProcessOptions, 'channelKey' | `on${string}`> {
  /** ms after which a call of the module counts as hung. */
  readonly callTimeoutMs: number;
  readonly report?: (event: TokenHostEvent) => void;
  /** For tests: starts a process. */
  readonly spawn?: (options: HostProcessOptions) => Pick<HostProcess, 'pid' | 'send' | 'kill' | 'stop'>;
  /** 0 to below 1, for tests. */
  readonly random?: () => number;
}

export type TokenHostEvent = { readonly module: string } & (
  | { readonly type: 'token-host-started'; readonly pid: number | undefined }
  | { readonly type: 'token-host-ended'; readonly reason: string; readonly restartInMs: number }
  /** The module has a login for each thread. */
  | { readonly type: 'token-host-one-thread' }
);

/** Calls that the process has for each thread. Those that wait there keep threads busy while the plugin's own thread is. */
const CALLS_PER_THREAD = 2;
const WATCH_MS = 50;
/** ms for calls under way to end when the host is closed. */
const QUIET_MS = 150;
/** ms for the outcomes of logins to be recorded when the host is closed. */
const RECORD_MS = 1_000;
/** Calls wait for a new process that starts within this time, in ms. */
const WORTH_WAITING_MS = 1_000;
/** ms in which a process is not replaced for failing: owners whose token works may still have to log in. */
const YOUNG_MS = 5_000;

/** Runs a PKCS#11 module in a process of its own, from the first call on, over its crashes and hangs (ADR 0008). */
export class TokenHost {
  readonly #options: TokenHostOptions;
  readonly #channelKey = newChannelKey();
  /** Seals secrets for the process, and opens what it has sealed. */
  readonly channel = new SealedChannel(this.#channelKey);
  /** The logins under way by what they are for, and those that have just failed. */
  readonly logins = new Map<string, Promise<void>>();
  readonly counters = {
    token_host_starts: 0,
    token_host_calls: 0,
    token_host_retries: 0,
    token_host_messages: 0,
    token_sessions_opened: 0,
  };
  readonly #restarts: Restarts;
  readonly #queue = new FairQueue<Call>();
  readonly #underWay = new CallsUnderWay();
  readonly owners: Owners;
  #process: ReturnType<NonNullable<TokenHostOptions['spawn']>> | undefined;
  #ready = false;
  /** The process was killed and has not ended yet: what it is sent now gets no answer. */
  #killed = false;
  #watching = false;
  #stopRestart: (() => void) | undefined;
  #onQuiet: (() => void) | undefined;
  #lastEnd = '';
  /** Of each new process, and of the one that runs. */
  #threads: number;
  #threadsNow = 0;
  /** The next process starts at once: the module is not to blame for the end of this one, or only one owner is. */
  #restartsAtOnce = false;
  #nextId = 1;
  #closed = false;

  constructor(options: TokenHostOptions) {
    this.#options = options;
    this.#threads = options.sessions;
    this.#restarts = new Restarts(options.clock, options.random);
    this.owners = new Owners({
      clock: options.clock,
      backOff: (hangs) => this.#restarts.backOff(hangs),
      ask: (owner, ask) => this.call(ask, { owner, signal: new AbortController().signal }),
    });
  }

  /** The number of the process that the next call goes to, from 1. What one process has set up, such as a login, the next has not. */
  get generation(): number {
    return this.counters.token_host_starts + (this.running === 0 ? 1 : 0);
  }

  /** Whether calls go one after the other, because each thread would need a login of its own. */
  get isReducedToOneThread(): boolean {
    return this.#threads < this.#options.sessions;
  }

  /** The number of the running process; 0 where none runs. */
  get running(): number {
    return this.#process && !this.#killed ? this.counters.token_host_starts : 0;
  }

  /**
   * Asks the process, which is started where none runs.
   * @throws {@link TokenFailure} what the process answers, `not-begun` and `host-ended`; `KmsError` `ERR_KMS_CLOSED`, with
   * `not-begun` as its cause for a call that was not sent, and what `signal` was aborted for
   */
  call<Name extends OperationName>(ask: Ask<Name>, options: CallOptions): Promise<Operations[Name]['answer']> {
    const answer = new Promise<unknown>((resolve, reject) => {
      if (this.#closed) return reject(closed(NOT_SENT));
      this.#queue.push(options.owner, { ...options, ask: ask as Ask, resolve, reject });
      // Calls of one turn of the event loop go in one message.
      queueMicrotask(() => this.#flush());
    });
    return unlessAborted(answer, options.signal) as Promise<Operations[Name]['answer']>;
  }

  /**
   * Replaces process `generation`, where it still runs: some modules show a process only the keys that existed when it started.
   * @throws `KmsError` `ERR_KMS_STORE_UNAVAILABLE` while a login is under way, since its outcome would be lost
   */
  renew(generation: number, reason: string): void {
    if (this.running !== generation) return;
    if (this.#underWay.hasLogin) throw unavailable(`${reason}, but not while a login is under way`);
    this.#restartsAtOnce = true;
    this.#kill(reason);
  }

  async close(): Promise<void> {
    const { clock } = this.#options;
    this.#closed = true;
    this.#stopRestart?.();
    for (const call of this.#queue.drain()) call.reject(closed(NOT_SENT));
    // A login waits for its answer or for the end of its process, because the outcome is recorded.
    for (const call of this.#underWay.values()) if (call.ask.op !== 'login') call.reject(closed());
    const quiet = new Promise<void>((resolve) => (this.#onQuiet = resolve));
    if (this.#underWay.size > 0 && !(await resolvesWithin(clock, QUIET_MS, quiet))) {
      this.#kill('it was stopped, and a call did not end');
    }
    await this.#process?.stop();
    // The plugin's process may end after this.
    await resolvesWithin(clock, RECORD_MS, Promise.allSettled(this.logins.values()));
    this.channel.destroy();
    this.#channelKey.wipe();
  }

  #kill(reason: string): void {
    if (!this.#process) return;
    this.#killed = true;
    this.#process.kill(reason);
  }

  #flush(): void {
    if (this.#queue.length === 0 || this.#closed) return;
    if (!this.#process) return this.#startOrRefuse();
    const { clock } = this.#options;
    // While each thread still has a call, more of them gather for one message.
    if (!this.#ready || this.#killed || this.#underWay.size > this.#threads) return;
    const requests = [];
    while (this.#underWay.size < this.#threads * CALLS_PER_THREAD) {
      const call = this.#queue.shift();
      if (!call) break;
      if (call.signal.aborted) continue;
      const waitMs = this.owners.waitMs(call.owner);
      if (waitMs > 0) call.reject(notBegun('the module hung', waitMs));
      else {
        this.#underWay.add(this.#nextId, call);
        requests.push({ id: this.#nextId++, ask: call.ask });
      }
    }
    if (requests.length === 0) return;
    this.counters.token_host_calls += requests.length;
    this.counters.token_host_messages++;
    this.#process.send(requests);
    if (!this.#watching) clock.after(WATCH_MS, () => this.#watch());
    this.#watching = true;
  }

  /** Kills the process if a call hangs. */
  #watch(): void {
    const { clock, callTimeoutMs } = this.#options;
    const hung = this.#underWay.hung(this.#threadsNow, clock.now(), callTimeoutMs);
    this.#watching = hung.length === 0 && this.#underWay.size > 0;
    if (this.#watching) clock.after(WATCH_MS, () => this.#watch());
    if (hung.length === 0) return;
    this.#restartsAtOnce ||= this.owners.hang(hung.map(({ owner }) => owner));
    this.#kill('the module hung');
  }

  #answered(replies: readonly Reply[]): void {
    this.counters.token_host_messages++;
    for (const { id, value, failure, sessionsOpened } of replies) {
      this.counters.token_sessions_opened += sessionsOpened;
      const call = this.#underWay.take(id);
      if (!call) continue;
      if (failure) call.reject(new TokenFailure(failure.kind, failure.message));
      else call.resolve(value);
      const mayBeBroken = this.owners.answered(call.owner, call.ask, failure?.kind);
      const young = this.#restarts.ageMs <= YOUNG_MS;
      // The outcome of a login must not be lost.
      if (!mayBeBroken || young || this.#underWay.hasLogin) continue;
      this.#kill(`the module fails again and again: ${failure?.message ?? ''}`);
    }
    this.#endIfTooManyThreads();
    if (this.#underWay.size === 0) this.#onQuiet?.();
    queueMicrotask(() => this.#flush());
  }

  /** Logins are slow, for the sake of the PIN: one for each of many threads would take longer than callers wait. */
  #reduceToOneThread(): void {
    const { modulePath: module, report } = this.#options;
    if (this.#threads === 1) return;
    this.#threads = 1;
    report?.({ type: 'token-host-one-thread', module });
    this.#endIfTooManyThreads();
  }

  /** The outcome of a login must not be lost. */
  #endIfTooManyThreads(): void {
    if (this.#threadsNow <= this.#threads || this.#underWay.hasLogin || this.#killed) return;
    this.#restartsAtOnce = true;
    this.#kill('each of its threads would need a login of its own; the next process has one thread');
  }

  #startOrRefuse(): void {
    const { clock } = this.#options;
    const { waitMs } = this.#restarts;
    if (waitMs <= 0) return this.#start();
    if (waitMs > WORTH_WAITING_MS) {
      for (const call of this.#queue.drain()) call.reject(notBegun(this.#lastEnd, waitMs));
    } else {
      // Between two processes nothing else may keep a command such as "keys generate" alive.
      this.#stopRestart ??= clock.after(waitMs, () => this.#restart(), true);
    }
  }

  #restart(): void {
    this.#stopRestart = undefined;
    this.#flush();
  }

  #start(): void {
    const { modulePath, report, spawn = startProcess } = this.#options;
    this.counters.token_host_starts++;
    this.#restarts.started();
    this.#threadsNow = this.#threads;
    try {
      this.#process = spawn({
        ...this.#options,
        sessions: this.#threads,
        channelKey: this.#channelKey,
        onStarted: () => {
          this.#ready = true;
          report?.({ type: 'token-host-started', module: modulePath, pid: this.#process?.pid });
          this.#flush();
        },
        onReplies: (replies) => this.#answered(replies),
        onLoginOfThread: () => this.#reduceToOneThread(),
        onEnd: (reason) => this.#ended(reason),
      });
    } catch (error) {
      this.#ended((error as Error).message);
    }
  }

  #ended(reason: string): void {
    const { modulePath, report } = this.#options;
    this.#process = undefined;
    this.#ready = false;
    this.#killed = false;
    this.#lastEnd = reason;
    if (!this.#restartsAtOnce) this.owners.clear();
    const restartInMs = this.#restarts.ended(this.#restartsAtOnce);
    this.#restartsAtOnce = false;
    if (!this.#closed) report?.({ type: 'token-host-ended', module: modulePath, reason, restartInMs });
    this.#onQuiet?.();
    const failure = new TokenFailure('host-ended', `the token host: ${reason}`);
    for (const call of this.#underWay.values()) call.reject(failure);
    this.#underWay.clear();
    this.#flush();
  }
}

const startProcess = (options: HostProcessOptions) => new HostProcess(options);
