// When the failures and hangs of one owner are those of the module (design D10).
import { FakeClock, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Owners } from '../../../../src/stores/pkcs11/token-host/owners.ts';
import { TokenFailure } from '../../../../src/stores/pkcs11/token-host/protocol.ts';
import type { Ask } from '../../../../src/stores/pkcs11/token-host/protocol.ts';
import { CALL_TIMEOUT_MS, failureOf, LOGIN, newHost, UNWRAP } from '../../../support/token-hosts.ts';

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
  assert.match(refusals[0]!, /^the token host: the module hung; it can be tried again in \d s$/);
  for (const event of events) if (event.type === 'token-host-ended') assert.is(event.restartInMs, 0);
  await clock.advance(200_000);
  const again = call(ill);
  await settle();
  processes.at(-1)!.answers([processes.at(-1)!.asked.at(-1)!]);
  await again;
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

test('an idle owner whose test ends without an answer is not asked again until another call fails', async () => {
  const clock = new FakeClock();
  let asked = 0;
  const owners = new Owners({
    clock,
    backOff: () => 0,
    // As when the host closes: nobody notes how it ends.
    ask: () => {
      if (++asked > 10) throw new Error('it is asked without end');
      return Promise.reject(new TokenFailure('not-begun', 'no process'));
    },
  });
  const [idle, other] = [{}, {}];
  const key: Ask<'key'> = { op: 'key', token: {}, label: 'kek', keyId: 'key', mechanisms: ['aes-gcm'] };
  owners.answered(idle, key, undefined);
  await clock.advance(2_000);
  for (let i = 0; i < 5; i++) owners.answered(other, key, 'unavailable');
  await clock.advance(1);
  assert.is(asked, 1);
  owners.answered(other, key, 'unavailable');
  assert.is(asked, 2);
});

test.run();
