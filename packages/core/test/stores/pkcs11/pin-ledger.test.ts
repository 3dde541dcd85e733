// A wrong PIN is tried once, whatever happens around it (ADR 0006).
import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LoginOutcome } from '../../../src/stores/pkcs11/pin-ledger.ts';
import {
  CALM,
  crash,
  FINAL,
  ledgerWithGood,
  newLedger,
  newPin,
  outcomesIn,
  recordIn,
  refusedBy,
  secret,
  Token,
} from '../../support/pin-ledgers.ts';

test('the right PIN logs in as often as asked, and is recorded as good', async () => {
  const pin = newPin();
  const [ledger, token] = [newLedger(), new Token(pin)];
  for (let times = 1; times <= 3; times++) {
    await ledger.attempt(secret(pin), CALM, token.with(pin));
    assert.is(token.logins, times);
    assert.equal(outcomesIn(ledger), ['good']);
    assert.is(recordIn(ledger).pins[0]?.attempts, 0);
  }
});

test('a wrong PIN is tried once, also after a restart, and the error says when it was refused and what to do', async () => {
  const [directory, pin] = [newDirectory(), newPin()];
  const token = new Token('another');
  const first = newLedger(directory);
  const errors = [
    await rejectsWithCode(() => first.attempt(secret(pin), CALM, token.with(pin)), 'ERR_KMS_STORE_UNAVAILABLE'),
  ];
  for (let restart = 0; restart < 5; restart++) errors.push(await refusedBy(newLedger(directory), pin));
  assert.is(token.logins, 1);
  const [entry] = recordIn(first).pins;
  for (const { message, remedy } of errors) {
    const expected = `token "teapot 0123456789abcdef" refused the PIN at ${entry!.at}. It is not tried again until it changes at its source`;
    assert.is(message, expected);
    assert.is(remedy, `correct the PIN at its source; to try the same PIN again, remove ${first.file}`);
  }
});

test('a PIN that the token did not look at leaves the record as it was', async () => {
  const [good, other] = [newPin(), newPin()];
  const ledger = await ledgerWithGood(good);
  const before = recordIn(ledger);
  await ledger.attempt(secret(other), CALM, () => Promise.resolve('already'));
  assert.equal(recordIn(ledger), before);
});

test('a token without a user PIN refuses none: the PIN is tried again until the token has one', async () => {
  const pin = newPin();
  const [ledger, token] = [newLedger(), new Token(pin)];
  for (let times = 0; times < 5; times++) {
    const error = await rejectsWithCode(
      () => ledger.attempt(secret(pin), CALM, () => Promise.resolve('not-set')),
      'ERR_KMS_STORE_UNAVAILABLE',
    );
    assert.is(error.message, 'token "teapot 0123456789abcdef" has no user PIN yet');
    assert.match(error.remedy!, 'security officer');
    assert.equal(outcomesIn(ledger), []);
  }
  await ledger.attempt(secret(pin), CALM, token.with(pin));
  assert.equal(outcomesIn(ledger), ['good']);
});

test('a token without a user PIN leaves the record of earlier tries as it was', async () => {
  const [good, pin] = [newPin(), newPin()];
  const ledger = await ledgerWithGood(good);
  await rejectsWithCode(() => ledger.attempt(secret(pin), CALM, crash), 'ERR_KMS_DEADLINE_EXCEEDED');
  const before = recordIn(ledger);
  await rejectsWithCode(
    () => ledger.attempt(secret(pin), CALM, () => Promise.resolve('not-set')),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.equal(recordIn(ledger), before);
});

test('a PIN that the token calls locked is not tried again', async () => {
  const pin = newPin();
  const ledger = newLedger();
  const first = await rejectsWithCode(
    () => ledger.attempt(secret(pin), CALM, () => Promise.resolve('locked')),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(first.message, /reported at .* that its PIN is locked/);
  assert.match(first.remedy!, `remove ${ledger.file}`);
  assert.is((await refusedBy(ledger, pin)).message, first.message);
});

test('when its file is removed the same PIN is tried again', async () => {
  const pin = newPin();
  const [ledger, token] = [newLedger(), new Token('another')];
  const attempt = () => ledger.attempt(secret(pin), CALM, token.with(pin));
  await rejectsWithCode(attempt, 'ERR_KMS_STORE_UNAVAILABLE');
  token.right = pin;
  rmSync(ledger.file);
  await attempt();
  assert.is(token.logins, 2);
});

test('while the token says that it is locked nothing is tried and nothing recorded', async () => {
  const pin = newPin();
  const fresh = newLedger(join(newDirectory(), 'state'));
  const error = await refusedBy(fresh, pin, { pinFinalTry: false, pinLocked: true });
  assert.match(error.message, /^the PIN of token .* is locked$/);
  assert.not.ok(existsSync(fresh.file));
  const ledger = await ledgerWithGood(pin);
  const before = readFileSync(ledger.file, 'utf8');
  await refusedBy(ledger, pin, { pinFinalTry: true, pinLocked: true });
  assert.is(readFileSync(ledger.file, 'utf8'), before);
});

test('the final try is only for a PIN that is recorded as good', async () => {
  const [good, other] = [newPin(), newPin()];
  const ledger = await ledgerWithGood(good);
  const error = await refusedBy(ledger, other, FINAL);
  assert.match(error.message, /has one try left before it locks, and this PIN is not known to be good/);
  assert.equal(outcomesIn(ledger), ['good']);
  await ledger.attempt(secret(good), FINAL, new Token(good).with(good));
});

test('the final try is not for a PIN that was good when its last login had no answer, or another has been good since', async () => {
  const [first, second] = [newPin(), newPin()];
  const ledger = await ledgerWithGood(first);
  await rejectsWithCode(() => ledger.attempt(secret(first), CALM, crash), 'ERR_KMS_DEADLINE_EXCEEDED');
  await refusedBy(ledger, first, FINAL);
  await ledger.attempt(secret(first), CALM, new Token(first).with(first));
  await ledger.attempt(secret(second), CALM, new Token(second).with(second));
  await refusedBy(ledger, first, FINAL);
});

test('of a PIN that was never good two logins without an answer are borne, and a right one in between makes it good', async () => {
  const pin = newPin();
  const ledger = newLedger();
  const crashing = () => rejectsWithCode(() => ledger.attempt(secret(pin), CALM, crash), 'ERR_KMS_DEADLINE_EXCEEDED');
  await crashing();
  await crashing();
  const error = await refusedBy(newLedger(join(ledger.file, '..')), pin);
  assert.match(error.message, /^2 logins .* had no answer, the last at .*may hide a refusal/);

  rmSync(ledger.file);
  await crashing();
  await ledger.attempt(secret(pin), CALM, new Token(pin).with(pin));
  for (let times = 0; times < 5; times++) await crashing();
  await ledger.attempt(secret(pin), CALM, new Token(pin).with(pin));
});

test('what was good and is refused is not tried again', async () => {
  const pin = newPin();
  const ledger = await ledgerWithGood(pin);
  const token = new Token('changed');
  await rejectsWithCode(() => ledger.attempt(secret(pin), CALM, token.with(pin)), 'ERR_KMS_STORE_UNAVAILABLE');
  await refusedBy(ledger, pin);
  assert.is(token.logins, 1);
});

test('a login that fails with anything else is unavailable, with that as the cause', async () => {
  const ledger = newLedger();
  const failure = new TypeError('a bug');
  const error = await rejectsWithCode(
    () => ledger.attempt(secret(newPin()), CALM, () => Promise.reject(failure)),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.is(error.cause, failure);
  assert.match(error.message, /had no answer/);
});

test('a changed PIN is tried afresh', async () => {
  const [wrong, right] = [newPin(), newPin()];
  const [ledger, token] = [newLedger(), new Token(right)];
  await rejectsWithCode(() => ledger.attempt(secret(wrong), CALM, token.with(wrong)), 'ERR_KMS_STORE_UNAVAILABLE');
  await ledger.attempt(secret(right), CALM, token.with(right));
  assert.is(token.logins, 2);
});

test('two instances with different wrong PINs do not make each other forget: each is tried once', async () => {
  const [directory, pins] = [newDirectory(), [newPin(), newPin(), newPin()]];
  const token = new Token(pins[2]!);
  for (let round = 0; round < 3; round++) {
    for (const pin of pins) {
      await newLedger(directory)
        .attempt(secret(pin), CALM, token.with(pin))
        .catch(() => undefined);
    }
  }
  assert.is(token.logins, 1 + 1 + 3);
});

test('of PINs without end the latest are remembered', async () => {
  const ledger = newLedger();
  const pins = Array.from({ length: 18 }, newPin);
  for (const pin of pins) {
    await ledger.attempt(secret(pin), CALM, () => Promise.resolve('refused')).catch(() => undefined);
  }
  assert.is(recordIn(ledger).pins.length, 16);
  await refusedBy(ledger, pins.at(-1)!);
});

test('a login that found somebody logged in says nothing about the PIN: the record stays as it was', async () => {
  const pin = newPin();
  const already = () => Promise.resolve<LoginOutcome>('already');
  const ledger = newLedger();
  await ledger.attempt(secret(pin), CALM, already);
  assert.equal(recordIn(ledger).pins, []);
  const known = await ledgerWithGood(pin);
  const before = recordIn(known);
  await known.attempt(secret(newPin()), CALM, already);
  assert.equal(recordIn(known), before);
});

test.run();
