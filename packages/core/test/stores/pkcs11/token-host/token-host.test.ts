// The plugin's side of the token host, over a process that the test plays. A real one with a module: integration/pkcs11.
import { FakeClock, rejectsWithCode, settle } from '@teapot-kms/testing';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { HostProcessOptions } from '../../../../src/stores/pkcs11/token-host/host-process.ts';
import { kindOf, TokenFailure } from '../../../../src/stores/pkcs11/token-host/protocol.ts';
import type { Ask, FailureKind, Reply, Request } from '../../../../src/stores/pkcs11/token-host/protocol.ts';
import { TokenHost } from '../../../../src/stores/pkcs11/token-host/token-host.ts';
import type { TokenHostEvent } from '../../../../src/stores/pkcs11/token-host/token-host.ts';

const CALL_TIMEOUT_MS = 1_000;
const LOGIN: Ask = { op: 'login', token: {}, pin: Buffer.alloc(1) };
const UNWRAP: Ask = {
  op: 'unwrap',
  token: {},
  label: 'kek',
  keyId: 'key',
  mechanism: 'aes-gcm',
  blob: Buffer.alloc(1),
};

/** A process that answers when the test says so. */
class FakeProcess {
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

function newHost(sessions = 1) {
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

async function failureOf(call: Promise<unknown>): Promise<TokenFailure> {
  const error: unknown = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.instance(error, TokenFailure);
  return error as TokenFailure;
}

test('the first call starts the process, and calls of one turn go in one message', async () => {
  const { host, processes, call } = newHost(4);
  const calls = [call(), call(), call()];
  await settle();
  assert.is(processes.length, 1);
  assert.equal(processes[0]!.messages, []);
  processes[0]!.starts();
  assert.equal(
    processes[0]!.messages.map((message) => message.length),
    [3],
  );
  processes[0]!.answers(processes[0]!.asked);
  assert.equal(await Promise.all(calls), processes[0]!.asked);
  assert.is(host.counters.token_host_messages, 2);
});

test('the process has few calls at a time, and owners take turns with the rest', async () => {
  const { processes, call } = newHost();
  const [greedy, modest] = [{}, {}];
  const many = Array.from({ length: 100 }, () => call(greedy));
  await settle();
  const [made] = processes;
  made!.starts();
  const other = call(modest);
  await settle();
  const state = { done: false };
  void other.then(() => (state.done = true));
  let answered = 0;
  while (!state.done) {
    made!.answers([made!.asked[answered++]!]);
    await settle();
  }
  assert.ok(answered < 10, `${answered} calls came before it`);
  assert.is(many.length, 100);
});

test('a call that nobody waits for any more costs the token nothing', async () => {
  const { processes, call } = newHost();
  const abort = new AbortController();
  const calls = [call(), call({}, { signal: abort.signal })];
  await settle();
  abort.abort();
  processes[0]!.starts();
  assert.is(processes[0]!.asked.length, 1);
  await rejectsWithCode(() => calls[1]!, 'ERR_KMS_CANCELLED');
});

test('a failure of the token is passed on', async () => {
  const { started } = newHost();
  const { first, made } = await started();
  made.fails(made.asked, 'no-login');
  const failure = await failureOf(first);
  assert.equal([failure.kind, failure.message], ['no-login', 'CKR_X in C_Y']);
});

test('a call that takes too long is a hang: the process is killed, and the call fails', async () => {
  const { clock, started } = newHost();
  const { first, made } = await started();
  await clock.advance(CALL_TIMEOUT_MS);
  assert.is(made.killedFor, undefined);
  await clock.advance(200);
  assert.is(made.killedFor, 'the module hung');
  assert.is((await failureOf(first)).kind, 'host-ended');
});

test('calls that wait behind slow ones do not hang', async () => {
  const { clock, processes, call } = newHost();
  const calls = [call(), call()];
  await settle();
  const [made] = processes;
  made!.starts();
  await clock.advance(800);
  made!.answers([made!.asked[0]!]);
  await clock.advance(800);
  assert.is(made!.killedFor, undefined);
  made!.answers([made!.asked[1]!]);
  await Promise.all(calls);
});

test('a call with a time of its own has that time', async () => {
  const { clock, processes, call } = newHost();
  void call({}, { timeoutMs: 30_000 });
  await settle();
  processes[0]!.starts();
  await clock.advance(29_000);
  assert.is(processes[0]!.killedFor, undefined);
  await clock.advance(2_000);
  assert.is(processes[0]!.killedFor, 'the module hung');
});

test('a call whose answer comes after the first look does not hang, nor does the next one', async () => {
  const { clock, processes, call } = newHost();
  const calls = [call(), call()];
  await settle();
  const [made] = processes;
  made!.starts();
  // The first look at 50 ms begins its time; that at 1,100 ms finds it overdue.
  await clock.advance(CALL_TIMEOUT_MS + 120);
  made!.answers([made!.asked[0]!]);
  await clock.advance(CALL_TIMEOUT_MS);
  assert.is(made!.killedFor, undefined);
  made!.answers([made!.asked[1]!]);
  await Promise.all(calls);
});

test('an owner whose calls hang waits alone: for others the process starts again at once', async () => {
  const { clock, processes, events, call, started } = newHost(2);
  const [ill, well] = [{}, {}];
  const { first } = await started();
  processes[0]!.answers(processes[0]!.asked);
  await first;
  const works = async () => {
    const answer = call(well);
    await settle();
    const made = processes.at(-1)!;
    made.starts();
    await settle();
    made.answers([made.asked.at(-1)!]);
    return answer;
  };
  const refusals: string[] = [];
  for (let round = 0; round < 12; round++) {
    await works();
    const hanging = call(ill);
    await clock.advance(CALL_TIMEOUT_MS + 200);
    const { kind, message } = await failureOf(hanging);
    if (kind === 'not-begun') refusals.push(message);
  }
  assert.ok(refusals.length > 0 && refusals.length < 12);
  assert.match(refusals[0]!, /^the token host: the module hung; it starts again in \d s$/);
  for (const event of events) if (event.type === 'token-host-ended') assert.is(event.restartInMs, 0);
  await clock.advance(200_000);
  const again = call(ill);
  await settle();
  processes.at(-1)!.answers([processes.at(-1)!.asked.at(-1)!]);
  await again;
});

test('a module that hangs for all owners is started again ever later', async () => {
  const { clock, processes, events, call } = newHost(2);
  for (let round = 0; round < 4; round++) {
    const calls = [call({}), call({})];
    await settle();
    processes.at(-1)!.starts();
    await clock.advance(CALL_TIMEOUT_MS + 200);
    for (const one of calls) assert.is((await failureOf(one)).kind, 'host-ended');
    await clock.advance(1_000);
  }
  const waits = events.flatMap((event) => (event.type === 'token-host-ended' ? [event.restartInMs] : []));
  assert.equal(waits, [0, 250, 500, 1_000]);
});

test('when the process ends, calls under way fail, and those that wait go to the next process', async () => {
  const { host, processes, events, call, started } = newHost();
  const { first, made } = await started();
  const [second, waiting] = [call(), call()];
  await settle();
  made.ends();
  const failure = await failureOf(first);
  assert.equal([failure.kind, failure.message], ['host-ended', 'the token host: it ended by itself, by SIGSEGV']);
  assert.is(host.generation, 2);
  await settle();
  processes[1]!.starts();
  await settle();
  processes[1]!.answers(processes[1]!.asked);
  assert.ok(await waiting);
  await second.catch(() => undefined);
  assert.equal(
    events.map(({ type }) => type),
    ['token-host-started', 'token-host-ended', 'token-host-started'],
  );
});

test('a process that keeps ending is started again at once, then ever later, up to half a minute', async () => {
  const { clock, processes, events, call } = newHost();
  for (let i = 0; i < 12; i++) {
    void call();
    await settle();
    processes.at(-1)!.ends();
    await clock.advance(30_000);
  }
  const waits = events.flatMap((event) => (event.type === 'token-host-ended' ? [event.restartInMs] : []));
  assert.equal(waits.slice(0, 9), [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]);
  assert.is(Math.max(...waits), 30_000);
});

test('after a minute of life the waits begin anew', async () => {
  const { clock, processes, events, started, call } = newHost();
  for (let i = 0; i < 3; i++) {
    void call();
    await settle();
    processes.at(-1)!.ends();
    await clock.advance(1_000);
  }
  const { made } = await started();
  made.answers(made.asked);
  await clock.advance(61_000);
  made.ends();
  const last = events.at(-1)!;
  assert.is(last.type === 'token-host-ended' && last.restartInMs, 0);
});

test('a call waits for a process that starts within a second, and is refused before a later one', async () => {
  const { clock, processes, call } = newHost();
  const waiting = call();
  for (const waitMs of [0, 250, 500, 1_000]) {
    await settle();
    processes.at(-1)!.ends();
    await clock.advance(waitMs);
  }
  assert.is(processes.length, 5);
  processes.at(-1)!.ends();
  const failure = await failureOf(waiting);
  assert.is(failure.kind, 'not-begun');
  assert.match(failure.message, /by SIGSEGV; it starts again in 2 s$/);
});

test('a process that cannot be started is tried again', async () => {
  const clock = new FakeClock();
  let starts = 0;
  const spawn = () => {
    starts++;
    throw new Error('spawn ENOMEM');
  };
  const host = new TokenHost({
    modulePath: '/module.so',
    sessions: 1,
    callTimeoutMs: 1_000,
    clock,
    spawn,
    random: () => 0.5,
  });
  const call = host.call(UNWRAP, { owner: host, signal: new AbortController().signal });
  const failed = failureOf(call);
  await clock.advance(5_000);
  const failure = await failed;
  assert.is(failure.kind, 'not-begun');
  assert.match(failure.message, /spawn ENOMEM; it starts again in \d+ s/);
  assert.ok(starts > 1);
});

test('a module that fails for all owners is started again, but not in its first seconds', async () => {
  const { clock, processes, call, started } = newHost();
  const { made } = await started();
  made.fails(made.asked, 'unavailable');
  const failOnce = async () => {
    void call();
    await settle();
    made.fails([made.asked.at(-1)!], 'unavailable');
  };
  for (let i = 0; i < 9; i++) await failOnce();
  assert.is(made.killedFor, undefined);
  await clock.advance(5_001);
  await failOnce();
  assert.match(made.killedFor!, 'fails again and again: CKR_X in C_Y');
  assert.is(processes.length, 1);
});

/** A process that has worked for `host`, which is idle since, and fails for others: {@link failOnce}. */
async function withIdleOwner() {
  const parts = newHost(4);
  const { made } = await parts.started();
  made.answers(made.asked);
  await parts.clock.advance(5_001);
  const failOnce = async (owner: object) => {
    const before = made.asked.length;
    void parts.call(owner);
    await settle();
    made.fails([made.asked[before]!], 'unavailable');
    await settle();
  };
  /** What the process was asked on behalf of owners that have not called. */
  const tests = () => made.messages.flat().filter(({ ask }) => ask.op === 'key');
  return { ...parts, made, failOnce, tests };
}

test('a module that works for one owner is not started again for the failures of another', async () => {
  const { host, made, failOnce, tests } = await withIdleOwner();
  const other = {};
  for (let i = 0; i < 9; i++) await failOnce(other);
  assert.equal(
    tests().map(({ ask }) => ask),
    [{ op: 'key', token: {}, label: 'kek', keyId: 'key', mechanisms: ['aes-gcm'] }],
  );
  made.answers([tests()[0]!.id]);
  await settle();
  for (let i = 0; i < 9; i++) await failOnce(other);
  assert.is(made.killedFor, undefined);
  assert.is(tests().length, 1, 'one that has just worked is not asked again');
  host.owners.forget(host);
  await failOnce(other);
  assert.ok(made.killedFor);
});

test('an idle owner does not keep a process in use that fails for it too: it is asked after a few failures', async () => {
  const { made, failOnce, tests } = await withIdleOwner();
  const other = {};
  for (let i = 0; i < 5; i++) await failOnce(other);
  assert.is(made.killedFor, undefined);
  made.fails([tests()[0]!.id], 'unavailable');
  assert.match(made.killedFor!, 'fails again and again: CKR_X in C_Y');
});

test('of many idle owners one after the other is asked, and no call has to come for that', async () => {
  const { made, call, clock, failOnce, tests } = await withIdleOwner();
  const idle = [{}, {}, {}];
  for (const owner of idle) {
    const answer = call(owner);
    await settle();
    made.answers([made.asked.at(-1)!]);
    await answer;
  }
  await clock.advance(1_001);
  for (let i = 0; i < 5; i++) await failOnce({});
  for (let asked = 1; asked <= 4; asked++) {
    assert.is(tests().length, asked);
    assert.is(made.killedFor, undefined);
    made.fails([tests().at(-1)!.id], 'unavailable');
    await settle();
  }
  assert.ok(made.killedFor);
});

test('an idle owner whose login is lost does not speak for the process', async () => {
  const { made, failOnce, tests } = await withIdleOwner();
  const other = {};
  for (let i = 0; i < 5; i++) await failOnce(other);
  made.fails([tests()[0]!.id], 'no-login');
  await settle();
  await failOnce(other);
  assert.ok(made.killedFor);
});

for (const [what, kind, ask] of [
  ['wrong bytes', 'refused', UNWRAP],
  ['what may be wrong bytes', 'ambiguous', UNWRAP],
] as const) {
  test(`${what} are not a failure of the module`, async () => {
    const { clock, call, started } = newHost();
    const { made } = await started();
    made.fails(made.asked, kind);
    await clock.advance(5_001);
    for (let i = 0; i < 9; i++) {
      void call({}, { ask });
      await settle();
      made.fails([made.asked.at(-1)!], kind);
    }
    assert.is(made.killedFor, undefined);
  });
}

test('a renewal replaces the process that it names, once, and costs no wait', async () => {
  const { host, processes, events, started } = newHost();
  const { first, made } = await started();
  made.answers(made.asked);
  await first;
  host.renew(1, 'a key is missing');
  assert.is(made.killedFor, 'a key is missing');
  const last = events.at(-1)!;
  assert.is(last.type === 'token-host-ended' && last.restartInMs, 0);
  await started();
  host.renew(1, 'a key is missing');
  assert.is(processes.at(-1)!.killedFor, undefined);
});

test('a renewal does not cut off a login, whose outcome would be lost', async () => {
  const { host, processes, call } = newHost();
  void call({}, { ask: LOGIN });
  await settle();
  processes[0]!.starts();
  assert.throws(() => host.renew(1, 'a key is missing'), /login is under way/);
  assert.is(processes[0]!.killedFor, undefined);
});

test('a process that was killed is sent nothing any more, also not by what it says last', async () => {
  const { host, processes, clock, call } = newHost();
  const first = call();
  await settle();
  const [made] = processes;
  made!.lingers = true;
  host.renew(1, 'a key is missing');
  assert.equal([host.running, host.generation], [0, 2]);
  const second = call();
  made!.starts();
  await settle();
  assert.equal(made!.asked, []);
  host.renew(1, 'a key is missing');
  made!.ends();
  await clock.advance(0);
  processes[1]!.starts();
  await settle();
  processes[1]!.answers(processes[1]!.asked);
  assert.equal(await Promise.all([first, second]), processes[1]!.asked);
  assert.is(host.counters.token_host_starts, 2);
});

test('a module that fails for all owners is not started again while a login is under way', async () => {
  const { clock, call, started } = newHost(8);
  const { made } = await started();
  void call({}, { ask: LOGIN, timeoutMs: 30_000 });
  await settle();
  const [, login] = made.asked;
  await clock.advance(900);
  made.fails([made.asked[0]!], 'unavailable');
  await clock.advance(5_000);
  const failOnce = async () => {
    void call();
    await settle();
    made.fails([made.asked.at(-1)!], 'unavailable');
  };
  for (let i = 0; i < 9; i++) await failOnce();
  assert.is(made.killedFor, undefined);
  made.fails([login!], 'no-login');
  assert.is(made.killedFor, undefined);
});

test('a closed host says of a login that was not sent that it was not, and gives one under way its answer', async () => {
  const { host, processes, call } = newHost();
  const logins = [call({}, { ask: LOGIN })];
  await settle();
  processes[0]!.starts();
  logins.push(call({}, { ask: LOGIN }), call({}, { ask: LOGIN }));
  await settle();
  const { asked } = processes[0]!;
  assert.is(asked.length, 2, 'sent');
  const closing = host.close();
  logins.push(call({}, { ask: LOGIN }));
  for (const unsent of logins.slice(2)) {
    assert.is(kindOf(await rejectsWithCode(() => unsent, 'ERR_KMS_CLOSED')), 'not-begun');
  }
  processes[0]!.answers(asked);
  assert.equal(await Promise.all(logins.slice(0, 2)), asked);
  await closing;
});

test('a closed host says of a login whose process it had to kill that it has no answer', async () => {
  const { host, clock, processes, call } = newHost();
  const login = call({}, { ask: LOGIN });
  await settle();
  processes[0]!.starts();
  const closing = host.close();
  await clock.advance(150);
  await closing;
  assert.is((await failureOf(login)).kind, 'host-ended');
});

test('a closed host waits for the outcomes of its logins, within a limit', async () => {
  const { host, clock } = newHost();
  let closed = false;
  const recording = Promise.withResolvers<undefined>();
  host.logins.set('one', recording.promise);
  const closing = host.close().then(() => (closed = true));
  await clock.advance(999);
  assert.not(closed);
  await clock.advance(1);
  await closing;
  recording.resolve(undefined);
});

test('a closed host refuses, starts nothing, and may be closed twice', async () => {
  const { host, processes, call } = newHost();
  await host.close();
  await host.close();
  await rejectsWithCode(() => call(), 'ERR_KMS_CLOSED');
  assert.is(processes.length, 0);
});

test('a closed host refuses all calls at once, and stops its process when the calls under way have ended', async () => {
  const { host, call, started } = newHost();
  const { first, made } = await started();
  const waiting = call();
  const closing = host.close();
  await rejectsWithCode(() => first, 'ERR_KMS_CLOSED');
  await rejectsWithCode(() => waiting, 'ERR_KMS_CLOSED');
  await settle();
  assert.not(made.stopped);
  made.answers(made.asked);
  await closing;
  assert.ok(made.stopped);
  assert.is(made.killedFor, undefined);
});

test('a closed host kills its process when a call under way does not end', async () => {
  const { host, clock, started } = newHost();
  const { first, made } = await started();
  const closing = host.close();
  await rejectsWithCode(() => first, 'ERR_KMS_CLOSED');
  await clock.advance(150);
  await closing;
  assert.is(made.killedFor, 'it was stopped, and a call did not end');
});

test('a plugin without a free file descriptor reports that there is no process, and goes on', () => {
  const script = join(import.meta.dirname, '../../../support/starved-host.ts');
  const args = ['-c', 'ulimit -n 64; exec "$0" "$@"', process.execPath, '--conditions=teapot-source', script];
  const { status, stdout, stderr } = spawnSync('/bin/sh', args, { encoding: 'utf8', timeout: 60_000 });
  assert.is(status, 0, stderr);
  const { starved, starts } = JSON.parse(stdout) as { starved: string; starts: number };
  assert.match(starved, /^not-begun: the token host: .*EMFILE.*; it starts again in \d+ s$/);
  assert.ok(starts >= 2, 'it was tried again');
});

test.run();
