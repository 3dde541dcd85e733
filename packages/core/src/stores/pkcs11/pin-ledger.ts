import { createHash, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { KmsError } from '../../errors.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import { NotBegun } from './token-host/call.ts';
import type { TokenInfo } from './token-host/protocol.ts';
import { DurableDirectory } from '../../util/durable-directory.ts';
import { withFileLock } from '../../util/file-lock.ts';

/** What tells tokens apart; blanks at the end of a field do not count. */
export type TokenIdentity = Pick<TokenInfo, 'label' | 'serial' | 'manufacturer' | 'model'>;

/** What CK_TOKEN_INFO says about the user PIN right now. */
type PinFlags = Pick<TokenInfo, 'pinFinalTry' | 'pinLocked'>;

/** CKR_OK; CKR_PIN_INCORRECT and the like; CKR_PIN_LOCKED; CKR_USER_ALREADY_LOGGED_IN, which says nothing about the PIN. */
export type LoginOutcome = 'ok' | 'refused' | 'locked' | 'already';

/** Some tens of milliseconds and 32 MiB a guess: for a PIN of few digits only a little, but all that can be had here. */
const SCRYPT = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 2 ** 20 };
const HASH_BYTES = 32;
const SALT_BYTES = 16;

/** Logins without an answer after which a PIN that was never good counts as refused: a crash may hide a refusal. */
const MAX_UNANSWERED = 2;

/** PINs that are remembered for each token. Far more than a token has tries. */
const MAX_PINS = 16;

/** How long a login by somebody else is waited for. */
const LOCK_WAIT_MS = 30_000;

const hexOf = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`));

const entrySchema = z.strictObject({
  hash: hexOf(HASH_BYTES),
  outcome: z.enum(['good', 'refused', 'locked', 'attempted']),
  /** Logins that were begun since it last was good. */
  attempts: z.int().min(0),
  /** It was good once, and the token has said nothing else since. */
  wasGood: z.boolean(),
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

/**
 * Sees to it that a wrong PIN is tried once, over workers, instances, processes and restarts, until it changes at its source: tokens
 * lock after a few wrong ones, and some can then only be wiped (ADR 0006).
 *
 * What was tried is in one file for each token (mode 0600, scrypt hashes, no PIN). A missing file means that nothing was tried. A damaged
 * one does not: it may have held a refusal, and the next try may be the last, so nothing is tried until somebody who knows the PIN to be right
 * has removed the file. The error says so; the keys in memory go on meanwhile.
 */
export class PinLedger {
  /** What an operator removes to have the same PIN tried again. */
  readonly file: string;
  readonly #name: string;
  readonly #token: string;
  readonly #path: string;
  readonly #fs: typeof nodeFs;
  readonly #directory: DurableDirectory;

  /**
   * @param directory - on this host, not shared with others; made with mode 0700 where it is missing
   * @param fs - the file system, for tests that let it fail
   */
  constructor(directory: string, token: TokenIdentity, fs: typeof nodeFs = nodeFs) {
    const identity = [token.label, token.serial, token.manufacturer, token.model].map((field) => field.trimEnd());
    const digest = createHash('sha256').update(JSON.stringify(identity)).digest('hex');
    this.#name = `pin-${digest.slice(0, 32)}.json`;
    this.#token = identity.slice(0, 2).join(' ');
    this.#path = directory;
    this.#fs = fs;
    this.#directory = new DurableDirectory(directory, fs);
    this.file = join(directory, this.#name);
  }

  /**
   * Logs in with `pin`, unless that could cost a try for nothing. One login at a time for each token on this host; the others wait and
   * then go by what the first has found.
   *
   * @param pin - stays the caller's; neither kept nor wiped
   * @param flags - as the token tells them just now
   * @param login - C_Login and nothing else. One that throws counts as one that the token may have refused, unless it throws
   * {@link NotBegun}: the token has not seen the PIN. Must end within two minutes.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` where the token refused the PIN, or it was not tried, with the reason and what to do;
   * what `login` throws
   */
  async attempt(pin: SecretBytes, flags: PinFlags, login: () => Promise<LoginOutcome>): Promise<void> {
    if (flags.pinLocked) {
      throw unavailable(`token ${this.#shown} says that its PIN is locked; its security officer must set it anew`);
    }
    try {
      await this.#directory.make();
      await withFileLock(
        `${this.file}.lock`,
        { fs: this.#fs, waitMs: LOCK_WAIT_MS, busy: (pid) => this.#busy(pid) },
        () => this.#attemptLocked(pin, flags, login),
      );
    } catch (error) {
      const reason = `the PIN of token ${this.#shown} is not tried, because that cannot be recorded in ${this.#path}`;
      throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', `${reason}: ${(error as Error).message}`);
    }
  }

  async #attemptLocked(pin: SecretBytes, flags: PinFlags, login: () => Promise<LoginOutcome>): Promise<void> {
    const record = (await this.#read()) ?? this.#empty();
    const hash = await hashOf(pin, record.salt);
    const known = record.pins.find((entry) => timingSafeEqual(Buffer.from(entry.hash, 'hex'), hash));
    this.#refuseIfHopeless(known, flags);

    const others = record.pins.filter((entry) => entry !== known);
    const begun: Entry = {
      hash: hash.toString('hex'),
      outcome: 'attempted',
      attempts: (known?.attempts ?? 0) + 1,
      wasGood: known?.wasGood ?? false,
      at: now(),
    };
    await this.#write(record, [begun, ...others]);
    const asBefore = () => this.#write(record, record.pins).catch(() => undefined);
    const outcome = await this.#loggedIn(login, asBefore);
    if (outcome === 'already') return asBefore();
    if (outcome === 'ok') {
      const good: Entry = { ...begun, outcome: 'good', attempts: 0, wasGood: true, at: now() };
      // A token has one PIN: another that was good is so no more. The login stands, whether or not this can be written.
      await this.#write(record, [good, ...others.filter((entry) => !entry.wasGood)]).catch(() => undefined);
      return;
    }
    const refused: Entry = { ...begun, outcome, wasGood: false, at: now() };
    const error = this.#refusal(refused);
    // Where that cannot be written there is at least the attempt.
    await this.#write(record, [refused, ...others]).catch((cause: unknown) => (error.cause = cause));
    throw error;
  }

  async #loggedIn(login: () => Promise<LoginOutcome>, asBefore: () => Promise<void>): Promise<LoginOutcome> {
    try {
      return await login();
    } catch (error) {
      if (error instanceof NotBegun) await asBefore();
      throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', `the login to token ${this.#shown} had no answer`);
    }
  }

  #refuseIfHopeless(known: Entry | undefined, flags: PinFlags): void {
    if (known?.outcome === 'refused' || known?.outcome === 'locked') throw this.#refusal(known);
    if (known?.outcome === 'attempted' && !known.wasGood && known.attempts >= MAX_UNANSWERED) {
      const what = `${known.attempts} logins to token ${this.#shown} with this PIN had no answer, the last at ${known.at}`;
      throw unavailable(`${what}, which may hide a refusal; ${this.#remedy}`);
    }
    if (flags.pinFinalTry && known?.outcome !== 'good') {
      throw unavailable(
        `token ${this.#shown} has one try left before it locks, and this PIN is not known to be good, so it is not tried; ` +
          'log in once with the right PIN by other means (e.g. pkcs11-tool --login --list-objects), which gives the token its tries back',
      );
    }
  }

  #refusal({ outcome, at }: Entry): KmsError {
    const said = outcome === 'locked' ? `said at ${at} that its PIN is locked` : `refused the PIN at ${at}`;
    return unavailable(`token ${this.#shown} ${said}; ${this.#remedy}`);
  }

  get #remedy(): string {
    return `it is not tried again until the PIN at its source changes; to try the same PIN again, remove ${this.file}`;
  }

  get #shown(): string {
    return JSON.stringify(this.#token);
  }

  #busy(pid: string): KmsError {
    const what = `process ${pid} has been logging in to token ${this.#shown} for more than ${LOCK_WAIT_MS / 1000} s`;
    return unavailable(`${what}; if that is not so, remove ${this.file}.lock*`);
  }

  #empty(): LedgerRecord {
    return { formatVersion: 1, token: this.#token, salt: randomBytes(SALT_BYTES).toString('hex'), pins: [] };
  }

  async #read(): Promise<LedgerRecord | undefined> {
    const text = await this.#directory.read(this.#name);
    if (text === undefined) return undefined;
    const parsed = recordSchema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    throw unavailable(
      `${this.file} is damaged, so nobody knows whether token ${this.#shown} has refused the PIN before, and it is not tried; ` +
        'if you are sure that the PIN at its source is right, remove the file',
    );
  }

  #write(record: LedgerRecord, pins: readonly Entry[]): Promise<void> {
    const text = `${JSON.stringify({ ...record, pins: pins.slice(0, MAX_PINS) }, null, 2)}\n`;
    return this.#directory.write(this.#name, Buffer.from(text), 0o600);
  }
}

function hashOf(pin: SecretBytes, salt: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(pin.expose(), Buffer.from(salt, 'hex'), HASH_BYTES, SCRYPT, (error, hash) => {
      if (error) reject(error);
      else resolve(hash);
    });
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const now = (): string => new Date().toISOString();

const unavailable = (text: string): KmsError => new KmsError('ERR_KMS_STORE_UNAVAILABLE', text);
