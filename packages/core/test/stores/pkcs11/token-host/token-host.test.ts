// The plugin's side of the token host, over a process that the test plays. A real one with a module: integration/pkcs11.
import { rejectsWithCode, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { failureOf, newHost } from '../../../support/token-hosts.ts';

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

test.run();
