// When a process is replaced, and what its calls get.
import { FakeClock, settle } from '@teapot-kms/testing';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { TokenHost } from '../../../../src/stores/pkcs11/token-host/token-host.ts';
import { CALL_TIMEOUT_MS, failureOf, LOGIN, newHost, UNWRAP } from '../../../support/token-hosts.ts';

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
  assert.match(failure.message, /by SIGSEGV; it can be tried again in 2 s$/);
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
  assert.match(failure.message, /spawn ENOMEM; it can be tried again in \d+ s/);
  assert.ok(starts > 1);
});

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

test('a module with a login for each thread gets one thread from then on, said once', async () => {
  const { host, processes, events, call } = newHost(4);
  const login = call({}, { ask: LOGIN });
  const other = call();
  await settle();
  const [made] = processes;
  made!.starts();
  await settle();
  made!.onlyOneThreadLoggedIn();
  assert.is(made!.killedFor, undefined, 'the outcome of the login is waited for');
  made!.answers([made!.asked[0]!]);
  assert.ok(await login);
  assert.match(made!.killedFor ?? '', /^each of its threads would need a login of its own/);
  assert.is((await failureOf(other)).kind, 'host-ended');
  void call();
  await settle();
  assert.equal(
    processes.map(({ sessions }) => sessions),
    [4, 1],
  );
  assert.ok(host.isReducedToOneThread);
  processes[1]!.starts();
  processes[1]!.onlyOneThreadLoggedIn();
  assert.is(processes[1]!.killedFor, undefined);
  assert.equal(
    events.map(({ type }) => type),
    ['token-host-started', 'token-host-one-thread', 'token-host-ended', 'token-host-started'],
  );
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

test('a plugin without a free file descriptor reports that there is no process, and goes on', () => {
  const script = join(import.meta.dirname, '../../../support/starved-host.ts');
  const args = ['-c', 'ulimit -n 64; exec "$0" "$@"', process.execPath, '--conditions=teapot-source', script];
  const { status, stdout, stderr } = spawnSync('/bin/sh', args, { encoding: 'utf8', timeout: 60_000 });
  assert.is(status, 0, stderr);
  const { starved, starts } = JSON.parse(stdout) as { starved: string; starts: number };
  assert.match(starved, /^not-begun: the token host: .*EMFILE.*; it can be tried again in \d+ s$/);
  assert.ok(starts >= 2, 'it was tried again');
});

test.run();
