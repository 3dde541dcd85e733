// What the tests of the PIN ledger share: PINs, a token that counts logins, and what is in a record.
import { newDirectory, rejectsWithCode, rememberSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type * as nodeFs from 'node:fs/promises';
import { KmsError } from '../../src/errors.ts';
import type { LoginOutcome } from '../../src/stores/pkcs11/pin-ledger.ts';
import { PinLedger } from '../../src/stores/pkcs11/pin-ledger.ts';
import { systemClock } from '../../src/util/clock.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { TOKEN } from './tokens.ts';

export const CALM = { pinFinalTry: false, pinLocked: false };
export const FINAL = { pinFinalTry: true, pinLocked: false };

export function newPin(): string {
  const pin = randomBytes(8).toString('hex');
  rememberSecret(Buffer.from(pin));
  return pin;
}

export const secret = (pin: string) => new SecretBytes(Buffer.from(pin));

/** A token that counts its logins: `right` is its PIN, everything else is refused. */
export class Token {
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

/** The cost of a hash is not what is tested. */
export const CHEAP = { N: 2, r: 1, p: 1 };

export const newLedger = (directory = newDirectory(), token = TOKEN, fs?: typeof nodeFs) =>
  new PinLedger(directory, token, { clock: systemClock, scrypt: CHEAP, ...(fs && { fs }) });

export const crash = () => Promise.reject(new KmsError('ERR_KMS_DEADLINE_EXCEEDED', 'the token host was killed'));

export const never = (): Promise<LoginOutcome> => {
  throw new Error('the token was touched');
};

interface Shown {
  readonly token: string;
  readonly pins: readonly { outcome: string; attempts: number; at: string }[];
}
export const recordIn = (ledger: PinLedger) => JSON.parse(readFileSync(ledger.file, 'utf8')) as Shown;
export const outcomesIn = (ledger: PinLedger) => recordIn(ledger).pins.map(({ outcome }) => outcome);

export const refusedBy = (ledger: PinLedger, pin: string, flags = CALM) =>
  rejectsWithCode(() => ledger.attempt(secret(pin), flags, never), 'ERR_KMS_STORE_UNAVAILABLE');

/** A ledger that knows `pin` to be good. */
export async function ledgerWithGood(pin: string, directory?: string): Promise<PinLedger> {
  const ledger = newLedger(directory);
  await ledger.attempt(secret(pin), CALM, new Token(pin).with(pin));
  return ledger;
}
