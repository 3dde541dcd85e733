// A wrong PIN is tried once, whatever happens around it (ADR 0006).
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../src/errors.ts';
import type { LoginOutcome } from '../../../src/providers/pkcs11/pin-ledger.ts';
import { PinLedger } from '../../../src/providers/pkcs11/pin-ledger.ts';
import { SecretBytes } from '../../../src/secret-bytes.ts';
import { assertNoSecret, rejectsWithCode, rememberSecret } from '../../../src/testing/index.ts';
import { newDirectory } from '../../support/directories.ts';
import { figure } from '../../support/figure.ts';
import { runChild } from '../../support/run-child.ts';
import { TOKEN } from '../../support/tokens.ts';
import { watchedFs } from '../../support/watched-fs.ts';

const CALM = { pinFinalTry: false, pinLocked: false };
const FINAL = { pinFinalTry: true, pinLocked: false };

function newPin(): string {
  const pin = randomBytes(8).toString('hex');
  rememberSecret(Buffer.from(pin));
  return pin;
}

const secret = (pin: string) => new SecretBytes(Buffer.from(pin));

/** A token that counts its logins: `right` is its PIN, everything else is refused. */
class Token {
  right: string;
  logins = 0;

  constructor(right: string) {
    this.right = right;
  }

  with(pin: string): () => Promise<LoginOutcome> {
    return () => {
      this.logins++;
      return Promise.resolve(pin === this.right ? 'ok' : 'refused');
    };
  }
}

const newLedger = (directory = newDirectory()) => new PinLedger(directory, TOKEN);

const crash = () => Promise.reject(new KmsError('ERR_KMS_DEADLINE_EXCEEDED', 'the token host was killed'));

const never = (): Promise<LoginOutcome> => {
  throw new Error('the token was touched');
};

interface Shown {
  readonly token: string;
  readonly pins: readonly { outcome: string; attempts: number; wasGood: boolean; at: string }[];
}
const recordIn = (ledger: PinLedger) => JSON.parse(readFileSync(ledger.file, 'utf8')) as Shown;
const outcomesIn = (ledger: PinLedger) => recordIn(ledger).pins.map(({ outcome }) => outcome);

const refusedBy = (ledger: PinLedger, pin: string, flags = CALM) =>
  rejectsWithCode(() => ledger.attempt(secret(pin), flags, never), 'ERR_KMS_STORE_UNAVAILABLE');

/** A ledger that knows `pin` to be good. */
async function ledgerWithGood(pin: string, directory?: string): Promise<PinLedger> {
  const ledger = newLedger(directory);
  await ledger.attempt(secret(pin), CALM, new Token(pin).with(pin));
  return ledger;
}

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
  for (const { message } of errors) {
    assert.is(
      message,
      `token "teapot 0123456789abcdef" refused the PIN at ${entry!.at}; it is not tried again until the PIN at its source changes; ` +
        `to try the same PIN again, remove ${first.file}`,
    );
  }
});

test('a PIN that the token did not look at leaves the record as it was', async () => {
  const [good, other] = [newPin(), newPin()];
  const ledger = await ledgerWithGood(good);
  const before = recordIn(ledger);
  await ledger.attempt(secret(other), CALM, () => Promise.resolve('already'));
  assert.equal(recordIn(ledger), before);
});

test('a PIN that the token calls locked is not tried again', async () => {
  const pin = newPin();
  const ledger = newLedger();
  const first = await rejectsWithCode(
    () => ledger.attempt(secret(pin), CALM, () => Promise.resolve('locked')),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(first.message, /said at .* that its PIN is locked; .*, remove /);
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
  assert.match(error.message, /says that its PIN is locked; its security officer/);
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

test('the attempt is on disk before the token is asked', async () => {
  const pin = newPin();
  const ledger = newLedger();
  await ledger.attempt(secret(pin), CALM, () => {
    assert.equal(outcomesIn(ledger), ['attempted']);
    return Promise.resolve('ok');
  });
});

test('it is synced, and its directory too, before the token is asked', async () => {
  const steps: string[] = [];
  const fs = watchedFs((operation) => void steps.push(operation));
  await new PinLedger(newDirectory(), TOKEN, fs).attempt(secret(newPin()), CALM, () => {
    const from = steps.indexOf('file.writeFile');
    const expected = ['file.writeFile', 'file.sync', 'file.close', 'rename', 'open', 'file.sync', 'file.close'];
    assert.equal(steps.slice(from), expected);
    return Promise.resolve('ok');
  });
});

test('what cannot be recorded is not tried, and the error says why', async () => {
  const file = join(newDirectory(), 'file');
  writeFileSync(file, '');
  const error = await refusedBy(newLedger(join(file, 'state')), newPin());
  assert.match(error.message, /is not tried, because that cannot be recorded in .*\/file\/state: ENOTDIR/);

  for (const failing of ['open', 'file.writeFile', 'file.sync', 'rename', 'symlink', 'readFile']) {
    const fs = watchedFs((operation) => {
      if (operation === failing) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
    });
    const ledger = new PinLedger(newDirectory(), TOKEN, fs);
    const full = await refusedBy(ledger, newPin());
    assert.match(full.message, /ENOSPC/, failing);
  }
});

test('an outcome that cannot be recorded is still told', async () => {
  const [right, wrong] = [newPin(), newPin()];
  let full = false;
  const fs = watchedFs((operation) => {
    if (full && operation === 'file.sync') throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
  });
  const ledger = new PinLedger(newDirectory(), TOKEN, fs);
  const attempt = (pin: string) => {
    full = false;
    return ledger.attempt(secret(pin), CALM, () => {
      full = true;
      return Promise.resolve(pin === right ? 'ok' : 'refused');
    });
  };
  await attempt(right);
  assert.match(
    (await rejectsWithCode(() => attempt(wrong), 'ERR_KMS_STORE_UNAVAILABLE')).message,
    /refused the PIN at/,
  );
  assert.equal(outcomesIn(ledger), ['attempted', 'attempted']);
});

test('of a PIN that was never good two logins without an answer are borne, and a right one in between makes it good', async () => {
  const pin = newPin();
  const ledger = newLedger();
  const crashing = () => rejectsWithCode(() => ledger.attempt(secret(pin), CALM, crash), 'ERR_KMS_DEADLINE_EXCEEDED');
  await crashing();
  await crashing();
  const error = await refusedBy(newLedger(join(ledger.file, '..')), pin);
  assert.match(error.message, /^2 logins .* had no answer, the last at .*, which may hide a refusal; .*, remove /);

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

test('each token has its own record, and blanks that pad a field do not make another token', async () => {
  const [directory, pin] = [newDirectory(), newPin()];
  const { file } = newLedger(directory);
  const padded = { ...TOKEN, label: TOKEN.label.padEnd(32), serial: `${TOKEN.serial} `, model: TOKEN.model.padEnd(16) };
  assert.is(new PinLedger(directory, padded).file, file);
  const files = Object.keys(TOKEN).map((name) => new PinLedger(directory, { ...TOKEN, [name]: 'x' }).file);
  files.push(new PinLedger(directory, { ...TOKEN, label: 'teapot 0', serial: '123456789abcdef' }).file);
  assert.is(new Set([file, ...files]).size, 6);
  await rejectsWithCode(
    () => newLedger(directory).attempt(secret(pin), CALM, () => Promise.resolve('refused')),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  const other = new Token(pin);
  await new PinLedger(directory, { ...TOKEN, serial: '2' }).attempt(secret(pin), CALM, other.with(pin));
  assert.is(other.logins, 1);
});

const good = () => {
  const entry = { hash: '0'.repeat(64), outcome: 'refused', attempts: 1, wasGood: false, at: new Date().toISOString() };
  return { formatVersion: 1, token: 't', salt: '0'.repeat(32), pins: [entry] };
};
const damaged: readonly (readonly [string, string])[] = [
  ['an empty file', ''],
  ['half a file', JSON.stringify(good()).slice(0, 100)],
  ['zeros', '\0'.repeat(300)],
  ['null', 'null'],
  ['another version', JSON.stringify({ ...good(), formatVersion: 2 })],
  ['an unknown field', JSON.stringify({ ...good(), more: 1 })],
  ['a short salt', JSON.stringify({ ...good(), salt: '00' })],
  ['a short hash', JSON.stringify({ ...good(), pins: [{ ...good().pins[0], hash: '00' }] })],
  ['an unknown outcome', JSON.stringify({ ...good(), pins: [{ ...good().pins[0], outcome: 'fine' }] })],
];
for (const [what, text] of damaged) {
  test(`after damage (${what}) nothing is tried until the file is removed`, async () => {
    const pin = newPin();
    const ledger = newLedger();
    writeFileSync(ledger.file, text);
    const error = await refusedBy(ledger, pin);
    assert.ok(error.message.startsWith(`${ledger.file} is damaged`), error.message);
    assert.match(error.message, /if you are sure that the PIN at its source is right, remove the file$/);
    assert.is(readFileSync(ledger.file, 'utf8'), text);
    rmSync(ledger.file);
    await ledger.attempt(secret(pin), CALM, new Token(pin).with(pin));
  });
}

test('what this version writes counts as damage only when it is changed', async () => {
  const ledger = newLedger();
  writeFileSync(ledger.file, JSON.stringify(good()));
  const pin = newPin();
  await ledger.attempt(secret(pin), CALM, new Token(pin).with(pin));
});

test('a directory under the name of the record is an error, not a fresh start', async () => {
  const ledger = newLedger();
  mkdirSync(ledger.file);
  await refusedBy(ledger, newPin());
});

test('directory and file are for their owner only, and nothing else is left', async () => {
  const directory = join(newDirectory(), 'deep', 'state');
  const { file } = await ledgerWithGood(newPin(), directory);
  assert.is(statSync(directory).mode & 0o777, 0o700);
  assert.is(statSync(file).mode & 0o777, 0o600);
  assert.equal(readdirSync(directory), [file.slice(directory.length + 1)]);
  assert.match(file, /\/pin-[0-9a-f]{32}\.json$/);
});

test('the PIN is in no file and no error, and stays as it was', async () => {
  const pin = newPin();
  const ledger = newLedger();
  const bytes = secret(pin);
  const attempt = (login: () => Promise<LoginOutcome>) => ledger.attempt(bytes, CALM, login);
  const errors = [
    await rejectsWithCode(() => attempt(crash), 'ERR_KMS_DEADLINE_EXCEEDED'),
    await rejectsWithCode(() => attempt(() => Promise.resolve('refused')), 'ERR_KMS_STORE_UNAVAILABLE'),
    await refusedBy(ledger, pin),
  ];
  for (const shown of [...errors, readFileSync(ledger.file, 'utf8'), ledger]) assertNoSecret(shown, Buffer.from(pin));
  assert.is(bytes.expose().toString(), pin);
});

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
  for (let n = 1; !done; n += 3) await Promise.all([killAt(n), killAt(n + 1), killAt(n + 2)]);
  assert.ok(kills >= 15, String(kills));
  figure(
    `PIN ledger: killed at each of ${String(kills)} operations; in ${String(twice)} of them a wrong PIN was tried twice`,
  );
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
