// What a token host does when it is closed.
import { rejectsWithCode, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { kindOf } from '../../../../src/stores/pkcs11/token-host/protocol.ts';
import { failureOf, LOGIN, newHost } from '../../../support/token-hosts.ts';

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

test.run();
