// Token hosts over a process that answers when a test says so.
import { FakeClock, settle } from '@teapot-kms/testing';
import * as assert from 'uvu/assert';
import type { HostProcessOptions } from '../../src/stores/pkcs11/token-host/host-process.ts';
import { TokenFailure } from '../../src/stores/pkcs11/token-host/protocol.ts';
import type { Ask, FailureKind, Reply, Request } from '../../src/stores/pkcs11/token-host/protocol.ts';
import { TokenHost } from '../../src/stores/pkcs11/token-host/token-host.ts';
import type { TokenHostEvent } from '../../src/stores/pkcs11/token-host/token-host.ts';

export const CALL_TIMEOUT_MS = 1_000;
export const LOGIN: Ask = { op: 'login', token: {}, pin: Buffer.alloc(1) };
export const UNWRAP: Ask = {
  op: 'unwrap',
  token: {},
  label: 'kek',
  keyId: 'key',
  mechanism: 'aes-gcm',
  blob: Buffer.alloc(1),
};

/** A process that answers when the test says so. */
export class FakeProcess {
  readonly #options: HostProcessOptions;
  readonly messages: (readonly Request[])[] = [];
  killedFor: string | undefined;
  stopped = false;
  /** Whether it goes on for a while when it is killed, until {@link FakeProcess.ends}. */
  lingers = false;

  constructor(options: HostProcessOptions) {
    this.#options = options;
  }

  readonly pid = 1;

  get sessions(): number {
    return this.#options.sessions;
  }

  onlyOneThreadLoggedIn(): void {
    this.#options.onLoginOfThread();
  }

  send(requests: readonly Request[]): void {
    this.messages.push(requests);
  }

  get asked(): number[] {
    return this.messages.flat().map(({ id }) => id);
  }

  starts(): void {
    this.#options.onStarted();
  }

  answers(ids: readonly number[], reply: Partial<Reply> = {}): void {
    this.#options.onReplies(ids.map((id) => ({ id, sessionsOpened: 0, value: id, ...reply })));
  }

  fails(ids: readonly number[], kind: FailureKind): void {
    this.answers(ids, { failure: { kind, message: 'CKR_X in C_Y' } });
  }

  ends(reason = 'it ended by itself, by SIGSEGV'): void {
    this.#options.onEnd(reason);
  }

  kill(reason: string): void {
    this.killedFor = reason;
    if (!this.lingers) this.ends(reason);
  }

  stop(): Promise<void> {
    this.stopped = true;
    this.ends('it was stopped');
    return Promise.resolve();
  }
}

export function newHost(sessions = 1) {
  const clock = new FakeClock();
  const processes: FakeProcess[] = [];
  const events: TokenHostEvent[] = [];
  const host = new TokenHost({
    modulePath: '/module.so',
    sessions,
    callTimeoutMs: CALL_TIMEOUT_MS,
    clock,
    random: () => 0.5,
    report: (event) => events.push(event),
    spawn: (options) => {
      const made = new FakeProcess(options);
      processes.push(made);
      return made;
    },
  });
  const call = (
    owner: object = host,
    { ask = UNWRAP, signal = new AbortController().signal, timeoutMs = undefined as number | undefined } = {},
  ) => {
    const answer = host.call(ask, { owner, signal, timeoutMs });
    answer.catch(() => undefined);
    return answer;
  };
  /** A call and the process that it has started. */
  const started = async () => {
    const first = call();
    await settle();
    const made = processes.at(-1)!;
    made.starts();
    await settle();
    return { first, made };
  };
  return { host, clock, processes, events, call, started };
}

export async function failureOf(call: Promise<unknown>): Promise<TokenFailure> {
  const error: unknown = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.instance(error, TokenFailure);
  return error as TokenFailure;
}
