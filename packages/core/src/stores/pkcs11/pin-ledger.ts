import { createHash, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import type { ScryptOptions } from 'node:crypto';
import * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as z from 'zod';
import { KmsError, unavailable } from '../../errors.ts';
import type { Clock } from '../../util/clock.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import { kindOf } from './token-host/protocol.ts';
import type { TokenInfo } from './token-host/protocol.ts';
import { DurableDirectory } from '../../util/durable-directory.ts';
import { withFileLock } from '../../util/file-lock.ts';

/** What distinguishes tokens. Blanks at the end of a field do not count. */
export type TokenIdentity = Pick<TokenInfo, 'label' | 'serial' | 'manufacturer' | 'model'>;

/** The flags of CK_TOKEN_INFO about the user PIN. */
type PinFlags = Pick<TokenInfo, 'pinFinalTry' | 'pinLocked'>;

/**
 * CKR_OK; CKR_PIN_INCORRECT and the like; CKR_PIN_LOCKED; and two that say nothing about the PIN: CKR_USER_ALREADY_LOGGED_IN
 * and CKR_USER_PIN_NOT_INITIALIZED.
 */
export type LoginOutcome = 'ok' | 'refused' | 'locked' | 'already' | 'not-set';

/** Some tens of milliseconds and 32 MiB a guess. For a PIN of few digits that is little, but there is nothing better here. */
const SCRYPT: ScryptOptions = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 2 ** 20 };
const HASH_BYTES = 32;
const SALT_BYTES = 16;

/** Attempts without an answer after which a PIN counts as refused: a crash may hide a refusal. */
const MAX_UNANSWERED = 2;

/** PINs that are remembered for each token: far more than a token has tries. */
const MAX_PINS = 16;

/** Longest record: each PIN takes about 200 bytes. */
const MAX_RECORD_BYTES = 16 * 1024;

/** ms to wait for another process's login. */
const LOCK_WAIT_MS = 30_000;

const hexOf = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`));

const entrySchema = z.object({
  hash: hexOf(HASH_BYTES),
  /** A good PIN stays good while it is tried. */
  outcome: z.enum(['good', 'refused', 'locked', 'attempted']),
  /** Attempts without an answer since it last was good. */
  attempts: z.int().min(0),
  at: z.iso.datetime(),
});
type Entry = Readonly<z.infer<typeof entrySchema>>;

const recordSchema = z.strictObject({
  formatVersion: z.literal(1),
  /** Label and serial, for people. */
  token: z.string(),
  salt: hexOf(SALT_BYTES),
  /** The latest first. */
  pins: z.array(entrySchema).max(MAX_PINS),
});
type LedgerRecord = Readonly<z.infer<typeof recordSchema>>;

export interface PinLedgerOptions {
  readonly clock: Clock;
  /** Cost of a hash; default {@link SCRYPT}. For tests. */
  readonly scrypt?: ScryptOptions | undefined;
  /** For tests that let it fail. */
  readonly fs?: typeof nodeFs;
}

/**
 * Makes sure that a wrong PIN is tried once, over instances, processes and restarts, until it changes at its source: tokens lock
 * after a few wrong PINs, and some can then only be wiped (ADR 0006).
 *
 * One file for each token (mode 0600) says which PINs were tried, as scrypt hashes. A missing file means that none was. A
 * damaged file does not, since it may have held a refusal: then no PIN is tried until an operator removes the file.
 */
export class PinLedger {
  /** An operator removes this file to have the same PIN tried again. */
  readonly file: string;
  readonly #path: string;
  readonly #name: string;
  /** For people. */
  readonly #label: string;
  readonly #clock: Clock;
  readonly #scrypt: ScryptOptions;
  readonly #fs: typeof nodeFs;
  readonly #directory: DurableDirectory;

  /** @param path - a directory on this host, not shared with others; made with mode 0700 where it is missing */
  constructor(path: string, token: TokenIdentity, { clock, scrypt = SCRYPT, fs = nodeFs }: PinLedgerOptions) {
    const identity = [token.label, token.serial, token.manufacturer, token.model].map((field) => field.trimEnd());
    const digest = createHash('sha256').update(JSON.stringify(identity)).digest('hex');
    this.#path = path;
    this.#name = `pin-${digest.slice(0, 32)}.json`;
    this.file = join(path, this.#name);
    this.#label = identity.slice(0, 2).join(' ');
    this.#clock = clock;
    this.#scrypt = scrypt;
    this.#fs = fs;
    this.#directory = new DurableDirectory(path, fs);
  }

  /** For error texts. */
  get #token(): string {
    return JSON.stringify(this.#label);
  }

  /**
   * Logs in with `pin`, unless that could waste a try. One login at a time for each token on this host; the others wait, and
   * then go by its outcome.
   *
   * @param pin - stays the caller's; neither kept nor wiped
   * @param flags - as the token reports them now
   * @param login - C_Login and nothing else, within two minutes. An error counts as an attempt without an answer, except for a
   * {@link TokenFailure} `not-begun`
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` where the token refused the PIN or it was not tried; what `login` throws
   */
  async attempt(pin: SecretBytes, flags: PinFlags, login: () => Promise<LoginOutcome>): Promise<void> {
    if (flags.pinLocked) {
      const remedy = 'have the security officer of the token set a new PIN';
      throw unavailable(`the PIN of token ${this.#token} is locked`, { remedy });
    }
    const busy = (pid: string) =>
      unavailable(`process ${pid} has been logging in to token ${this.#token} for more than ${LOCK_WAIT_MS / 1000} s`, {
        remedy: `if it does not, remove ${this.file}.lock*`,
      });
    try {
      await this.#directory.make();
      const lock = { fs: this.#fs, clock: this.#clock, waitMs: LOCK_WAIT_MS, busy };
      await withFileLock(`${this.file}.lock`, lock, () => this.#attemptLocked(pin, flags, login));
    } catch (error) {
      const reason = `the PIN of token ${this.#token} is not tried, because the attempt cannot be recorded in ${this.#path}`;
      throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', `${reason}: ${(error as Error).message}`);
    }
  }

  async #attemptLocked(pin: SecretBytes, flags: PinFlags, login: () => Promise<LoginOutcome>): Promise<void> {
    const record = await this.#read();
    const hash = await this.#hash(pin, record.salt);
    const known = record.pins.find((entry) => timingSafeEqual(Buffer.from(entry.hash, 'hex'), hash));
    this.#refuseToTry(known, flags);

    const others = record.pins.filter((entry) => entry !== known);
    const attempts = (known?.attempts ?? 0) + 1;
    const begun = this.#entry(hash, known?.outcome === 'good' ? 'good' : 'attempted', attempts);
    await this.#write(record, [begun, ...others]);
    let outcome: LoginOutcome;
    try {
      outcome = await login();
    } catch (error) {
      if (kindOf(error) === 'not-begun') await this.#tryToWrite(record, record.pins);
      throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', `the login to token ${this.#token} had no answer`);
    }
    if (outcome === 'already') return this.#tryToWrite(record, record.pins);
    if (outcome === 'not-set') {
      await this.#tryToWrite(record, record.pins);
      const remedy = 'have the security officer of the token set it (such as pkcs11-tool --init-pin)';
      throw unavailable(`token ${this.#token} has no user PIN yet`, { remedy });
    }
    if (outcome === 'ok') {
      // A token has one PIN: another one that was good is so no more. The login stands, whether or not this can be written.
      const good = [this.#entry(hash, 'good', 0), ...others.filter((entry) => entry.outcome !== 'good')];
      return this.#tryToWrite(record, good);
    }
    const refused = this.#entry(hash, outcome, attempts);
    await this.#tryToWrite(record, [refused, ...others]);
    throw this.#refusal(refused);
  }

  #refuseToTry(known: Entry | undefined, flags: PinFlags): void {
    if (known?.outcome === 'refused' || known?.outcome === 'locked') throw this.#refusal(known);
    if (known?.outcome === 'attempted' && known.attempts >= MAX_UNANSWERED) {
      const what = `${known.attempts} logins to token ${this.#token} with this PIN had no answer, the last at ${known.at}`;
      throw unavailable(`${what}. They may hide a refusal, so the PIN is not tried again`, { remedy: this.#remedy });
    }
    if (flags.pinFinalTry && (known?.outcome !== 'good' || known.attempts > 0)) {
      const remedy =
        'log in once with the right PIN by other means (such as pkcs11-tool --login --list-objects), which gives the token its tries back';
      throw unavailable(
        `token ${this.#token} has one try left before it locks, and this PIN is not known to be good, so it is not tried`,
        { remedy },
      );
    }
  }

  #refusal({ outcome, at }: Entry): KmsError {
    const said = outcome === 'locked' ? `reported at ${at} that its PIN is locked` : `refused the PIN at ${at}`;
    return unavailable(`token ${this.#token} ${said}. It is not tried again until it changes at its source`, {
      remedy: this.#remedy,
    });
  }

  get #remedy(): string {
    return `correct the PIN at its source; to try the same PIN again, remove ${this.file}`;
  }

  #entry(hash: Buffer, outcome: Entry['outcome'], attempts: number): Entry {
    return { hash: hash.toString('hex'), outcome, attempts, at: new Date(this.#clock.wall()).toISOString() };
  }

  async #read(): Promise<LedgerRecord> {
    const text = await this.#directory.read(this.#name, MAX_RECORD_BYTES);
    if (text === undefined) {
      return { formatVersion: 1, token: this.#label, salt: randomBytes(SALT_BYTES).toString('hex'), pins: [] };
    }
    try {
      return recordSchema.parse(JSON.parse(text));
    } catch {
      throw unavailable(
        `${this.file} is damaged. Token ${this.#token} may have refused the PIN before, so the PIN is not tried`,
        { remedy: `if you are sure that the PIN at its source is right, remove ${this.file}` },
      );
    }
  }

  #write(record: LedgerRecord, pins: readonly Entry[]): Promise<void> {
    const text = `${JSON.stringify({ ...record, pins: pins.slice(0, MAX_PINS) }, null, 2)}\n`;
    return this.#directory.write(this.#name, Buffer.from(text), 0o600);
  }

  /** Where this fails, the attempt stays recorded. */
  #tryToWrite(record: LedgerRecord, pins: readonly Entry[]): Promise<void> {
    return this.#write(record, pins).catch(() => undefined);
  }

  #hash(pin: SecretBytes, salt: string): Promise<Buffer> {
    const hash = promisify<Buffer, Buffer, number, ScryptOptions, Buffer>(scrypt);
    return hash(pin.expose(), Buffer.from(salt, 'hex'), HASH_BYTES, this.#scrypt);
  }
}
