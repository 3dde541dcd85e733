import { unavailable } from '../../../errors.ts';
import { unlessAborted } from '../../../util/abort.ts';
import { backOffMs } from '../../../util/back-off.ts';
import { resolvesWithin } from '../../../util/timeout.ts';
import { FairQueue } from './fair-queue.ts';
import { Owners } from './owners.ts';
import { HostProcess } from './host-process.ts';
import type { HostProcessOptions } from './host-process.ts';
import { TokenFailure } from './protocol.ts';
import type { Ask, OperationName, Operations, Reply } from './protocol.ts';
import { closed, NOT_SENT, notBegun } from './refusals.ts';
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
);

export interface CallOptions {
  /** Owners take turns. */
  readonly owner: object;
  readonly signal: AbortSignal;
  /** ms after which this call counts as hung, where that is not the usual time. */
  readonly timeoutMs?: number | undefined;
}

interface Call extends CallOptions {
  readonly ask: Ask;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  /** When it was first seen among those that have a thread. */
  since?: number;
}

/** Calls that the process has for each thread. Those that wait there keep threads busy while the plugin's own thread is. */
const CALLS_PER_THREAD = 2;
const WATCH_MS = 50;
/** ms for calls under way to end when the host is closed. */
const QUIET_MS = 150;
/** ms for the outcomes of logins to be recorded when the host is closed. */
const RECORD_MS = 1_000;
/** The first new process starts at once, and later ones after these waits, until one has lived for a while. */
const RESTART = { firstMs: 250, longestMs: 30_000 };
const SOUND_AFTER_MS = 60_000;
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
  readonly #queue = new FairQueue<Call>();
  /** The calls that the process has and has not answered, oldest first. */
  readonly #underWay = new Map<number, Call>();
  /** Those that were overdue at the last look. */
  #overdue: readonly Call[] = [];
  readonly owners: Owners;
  #process: ReturnType<NonNullable<TokenHostOptions['spawn']>> | undefined;
  #ready = false;
  /** The process was killed and has not ended yet: what it is sent now gets no answer. */
  #killed = false;
  #watching = false;
  #stopRestart: (() => void) | undefined;
  #onQuiet: (() => void) | undefined;
  #startedAt = 0;
  #notBefore = 0;
  #ends = 0;
  #lastEnd = '';
  /** The next process starts at once: the module is not to blame for the end of this one, or only one owner is. */
  #restartsAtOnce = false;
  #nextId = 1;
  #closed = false;

  constructor(options: TokenHostOptions) {
    this.#options = options;
    this.owners = new Owners({
      clock: options.clock,
      backOff: (hangs) => this.#backOff(hangs),
      ask: (owner, ask) => this.call(ask, { owner, signal: new AbortController().signal }),
    });
  }

  /** The number of the process that the next call goes to, from 1. What one process has set up, such as a login, the next has not. */
  get generation(): number {
    return this.counters.token_host_starts + (this.running === 0 ? 1 : 0);
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
    if (this.#loginUnderWay) throw unavailable(`${reason}, but not while a login is under way`);
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

  get #loginUnderWay(): boolean {
    return [...this.#underWay.values()].some(({ ask }) => ask.op === 'login');
  }

  #kill(reason: string): void {
    if (!this.#process) return;
    this.#killed = true;
    this.#process.kill(reason);
  }

  #flush(): void {
    if (this.#queue.length === 0 || this.#closed) return;
    if (!this.#process) return this.#startOrRefuse();
    const { sessions, clock } = this.#options;
    // While each thread still has a call, more of them gather for one message.
    if (!this.#ready || this.#killed || this.#underWay.size > sessions) return;
    const requests = [];
    while (this.#underWay.size < sessions * CALLS_PER_THREAD) {
      const call = this.#queue.shift();
      if (!call) break;
      if (call.signal.aborted) continue;
      const waitMs = this.owners.waitMs(call.owner);
      if (waitMs > 0) call.reject(notBegun('the module hung', waitMs));
      else {
        this.#underWay.set(this.#nextId, call);
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

  /**
   * Kills the process if a call is overdue at two looks in a row. After a pause of the whole machine the first look finds
   * calls overdue whose answers wait in the pipe; they arrive before the second.
   */
  #watch(): void {
    const { clock, sessions, callTimeoutMs } = this.#options;
    const now = clock.now();
    const before = this.#overdue;
    // The threads take calls in order, so the others wait.
    const running = [...this.#underWay.values()].slice(0, sessions);
    this.#overdue = running.filter((call) => now - (call.since ??= now) > (call.timeoutMs ?? callTimeoutMs));
    const hung = this.#overdue.filter((call) => before.includes(call));
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
      const call = this.#underWay.get(id);
      if (!call) continue;
      this.#underWay.delete(id);
      if (failure) call.reject(new TokenFailure(failure.kind, failure.message));
      else call.resolve(value);
      const mayBeBroken = this.owners.answered(call.owner, call.ask, failure?.kind);
      const young = this.#options.clock.now() - this.#startedAt <= YOUNG_MS;
      // The outcome of a login must not be lost.
      if (!mayBeBroken || young || this.#loginUnderWay) continue;
      this.#kill(`the module fails again and again: ${failure?.message ?? ''}`);
    }
    if (this.#underWay.size === 0) this.#onQuiet?.();
    queueMicrotask(() => this.#flush());
  }

  #backOff(times: number): number {
    return Math.round(backOffMs(times - 1, RESTART, this.#options.random));
  }

  #startOrRefuse(): void {
    const { clock } = this.#options;
    const waitMs = this.#notBefore - clock.now();
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
    const { modulePath, clock, report, spawn = startProcess } = this.#options;
    this.counters.token_host_starts++;
    this.#startedAt = clock.now();
    try {
      this.#process = spawn({
        ...this.#options,
        channelKey: this.#channelKey,
        onStarted: () => {
          this.#ready = true;
          report?.({ type: 'token-host-started', module: modulePath, pid: this.#process?.pid });
          this.#flush();
        },
        onReplies: (replies) => this.#answered(replies),
        onEnd: (reason) => this.#ended(reason),
      });
    } catch (error) {
      this.#ended((error as Error).message);
    }
  }

  #ended(reason: string): void {
    const { clock, modulePath, report } = this.#options;
    this.#process = undefined;
    this.#ready = false;
    this.#killed = false;
    this.#lastEnd = reason;
    let restartInMs = 0;
    if (!this.#restartsAtOnce) {
      this.owners.clear();
      this.#ends = clock.now() - this.#startedAt > SOUND_AFTER_MS ? 1 : this.#ends + 1;
      restartInMs = this.#backOff(this.#ends);
    }
    this.#restartsAtOnce = false;
    this.#notBefore = clock.now() + restartInMs;
    if (!this.#closed) report?.({ type: 'token-host-ended', module: modulePath, reason, restartInMs });
    this.#onQuiet?.();
    const failure = new TokenFailure('host-ended', `the token host: ${reason}`);
    for (const call of this.#underWay.values()) call.reject(failure);
    this.#underWay.clear();
    this.#flush();
  }
}

const startProcess = (options: HostProcessOptions) => new HostProcess(options);
