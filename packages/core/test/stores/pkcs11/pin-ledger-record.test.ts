// The record of PINs on disk: written before the token is asked, for its owner only, and never guessed at when it is damaged.
import { assertNoSecret, newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LoginOutcome } from '../../../src/stores/pkcs11/pin-ledger.ts';
import {
  CALM,
  crash,
  ledgerWithGood,
  newLedger,
  newPin,
  outcomesIn,
  refusedBy,
  secret,
  Token,
} from '../../support/pin-ledgers.ts';
import { TOKEN } from '../../support/tokens.ts';
import { watchedFs } from '../../support/watched-fs.ts';

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
  await newLedger(newDirectory(), TOKEN, fs).attempt(secret(newPin()), CALM, () => {
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
  assert.match(error.message, /is not tried, because the attempt cannot be recorded in .*\/file\/state: ENOTDIR/);

  for (const failing of ['open', 'file.writeFile', 'file.sync', 'rename', 'symlink', 'stat']) {
    const fs = watchedFs((operation) => {
      if (operation === failing) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
    });
    const ledger = newLedger(newDirectory(), TOKEN, fs);
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
  const ledger = newLedger(newDirectory(), TOKEN, fs);
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

test('each token has its own record, and blanks that pad a field do not make another token', async () => {
  const [directory, pin] = [newDirectory(), newPin()];
  const { file } = newLedger(directory);
  const padded = { ...TOKEN, label: TOKEN.label.padEnd(32), serial: `${TOKEN.serial} `, model: TOKEN.model.padEnd(16) };
  assert.is(newLedger(directory, padded).file, file);
  const files = Object.keys(TOKEN).map((name) => newLedger(directory, { ...TOKEN, [name]: 'x' }).file);
  files.push(newLedger(directory, { ...TOKEN, label: 'teapot 0', serial: '123456789abcdef' }).file);
  assert.is(new Set([file, ...files]).size, 6);
  await rejectsWithCode(
    () => newLedger(directory).attempt(secret(pin), CALM, () => Promise.resolve('refused')),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  const other = new Token(pin);
  await newLedger(directory, { ...TOKEN, serial: '2' }).attempt(secret(pin), CALM, other.with(pin));
  assert.is(other.logins, 1);
});

const good = () => {
  const entry = { hash: '0'.repeat(64), outcome: 'refused', attempts: 1, at: new Date().toISOString() };
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
    assert.is(error.remedy, `if you are sure that the PIN at its source is right, remove ${ledger.file}`);
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

test.run();
