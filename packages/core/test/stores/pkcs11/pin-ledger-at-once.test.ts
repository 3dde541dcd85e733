// Many logins at once, in one process and in several, and processes that die in theirs (ADR 0006).
import { fullRun, newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LoginOutcome } from '../../../src/stores/pkcs11/pin-ledger.ts';
import { figure } from '../../support/figure.ts';
import { CALM, newLedger, newPin, outcomesIn, recordIn, secret, Token } from '../../support/pin-ledgers.ts';
import { runChild } from '../../support/run-child.ts';

test('in one process attempts queue: a wrong PIN is tried once by many, a right one by one at a time', async () => {
  const [directory, wrong, right] = [newDirectory(), newPin(), newPin()];
  const token = new Token(right);
  const all = (pin: string, login: () => Promise<LoginOutcome>) =>
    Promise.allSettled(Array.from({ length: 8 }, () => newLedger(directory).attempt(secret(pin), CALM, login)));
  for (const { status } of await all(wrong, token.with(wrong))) assert.is(status, 'rejected');
  assert.is(token.logins, 1);
  let [now, most] = [0, 0];
  const results = await all(right, async () => {
    most = Math.max(most, ++now);
    await sleep(5);
    now--;
    return 'ok';
  });
  for (const { status } of results) assert.is(status, 'fulfilled');
  assert.is(most, 1);
});

/** How often C_Login was called, over all processes. */
const callsIn = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').length : 0);

test('of four processes that start at once with a wrong PIN one tries it, though a dead one has left its lock', async () => {
  const [directory, pin, calls] = [newDirectory(), newPin(), join(newDirectory(), 'calls')];
  symlinkSync('4194304999', `${newLedger(directory).file}.lock`);
  const args = [directory, pin, calls, 'refused'];
  const children = await Promise.all(Array.from({ length: 4 }, () => runChild('login-child.ts', args)));
  for (const { code, stdout, stderr } of children) {
    assert.is(code, 0, stderr);
    assert.match(stdout, /^ERR_KMS_STORE_UNAVAILABLE: token .* refused the PIN at /);
  }
  assert.is(callsIn(calls), 1);
});

test('of four processes that start at once with the right PIN all log in', async () => {
  const [directory, pin, calls] = [newDirectory(), newPin(), join(newDirectory(), 'calls')];
  const args = [directory, pin, calls, 'ok'];
  const children = await Promise.all(Array.from({ length: 4 }, () => runChild('login-child.ts', args)));
  for (const { stdout, stderr } of children) assert.is(stdout, 'logged in\n', stderr);
  assert.is(callsIn(calls), 4);
});

test('a process that dies in its login leaves the attempt and no lock; after two of them the PIN is not tried', async () => {
  const [directory, pin, calls] = [newDirectory(), newPin(), join(newDirectory(), 'calls')];
  for (let times = 1; times <= 2; times++) {
    const { signal, stderr } = await runChild('login-child.ts', [directory, pin, calls, 'die']);
    assert.is(signal, 'SIGKILL', stderr);
    assert.equal(outcomesIn(newLedger(directory)), ['attempted']);
    assert.is(recordIn(newLedger(directory)).pins[0]?.attempts, times);
  }
  const { stdout } = await runChild('login-child.ts', [directory, pin, calls, 'die']);
  assert.match(stdout, /^ERR_KMS_STORE_UNAVAILABLE: 2 logins .* had no answer/);
  assert.is(callsIn(calls), 2);
});

test('wherever a process dies that tries a wrong PIN, the token sees it twice at most, and never when the refusal was recorded', async () => {
  let [kills, twice, done] = [0, 0, false];
  const killAt = async (n: number) => {
    const [directory, pin, calls] = [join(newDirectory(), 'state'), newPin(), join(newDirectory(), 'calls')];
    const { signal, code, stderr } = await runChild('login-child.ts', [directory, pin, calls, 'refused', String(n)]);
    if (code === 0) done = true;
    else if (signal === 'SIGKILL') kills++;
    else throw new Error(stderr);
    const before = callsIn(calls);
    const token = new Token('another');
    for (let restart = 0; restart < 3; restart++) {
      await rejectsWithCode(
        () => newLedger(directory).attempt(secret(pin), CALM, token.with(pin)),
        'ERR_KMS_STORE_UNAVAILABLE',
      );
    }
    assert.is.not(token.logins, 2, `killed at ${String(n)}`);
    assert.ok(before + token.logins >= 1 && before + token.logins <= 2, `killed at ${String(n)}`);
    if (code === 0) assert.is(token.logins, 0);
    if (before + token.logins === 2) twice++;
  };
  // Each death is a process.
  const step = fullRun ? 1 : 5;
  for (let n = 1; !done; n += 2 * step) await Promise.all([killAt(n), killAt(n + step)]);
  assert.ok(kills * step >= 15, String(kills));
  figure(`PIN ledger: killed at ${String(kills)} operations; in ${String(twice)} of them a wrong PIN was tried twice`);
});

test.run();
