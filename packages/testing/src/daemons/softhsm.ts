import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { missing, newPin, writePin } from './token.ts';
import type { Token } from './token.ts';
import { deleteObjects, importAesKey, initUserPin, listObjects } from './token-objects.ts';
import type { AesKeyImport, TokenObject } from './token-objects.ts';

const MODULE = '/usr/lib/softhsm/libsofthsm2.so';

export interface TokenOptions {
  readonly label?: string;
  /** Default: a random one. */
  readonly pin?: string;
}

/** A token of SoftHSM2, which has its store in a directory of its own. */
export class SoftHsm implements Token {
  readonly env: Readonly<Record<string, string>>;
  readonly module = MODULE;
  readonly label: string;
  readonly pin: string;
  readonly pinFile: string;
  readonly directory: string;
  /** SoftHSM2's files: a directory for each token, a file for each object. */
  readonly tokenDirectory: string;
  /** PIN of the security officer. */
  readonly #soPin = newPin();

  private constructor(directory: string, label: string, pin: string) {
    this.directory = directory;
    this.tokenDirectory = join(directory, 'tokens');
    this.env = { SOFTHSM2_CONF: join(directory, 'softhsm2.conf') };
    this.label = label;
    this.pin = pin;
    this.pinFile = writePin(directory, label, pin);
  }

  /** What a test lacks for it, and how to get that; see {@link missing}. */
  static missing(): string | undefined {
    return missing([MODULE], ['softhsm2-util']);
  }

  /**
   * Initialises a token.
   *
   * @param directory - for its files; made where it is missing
   */
  static async create(directory: string, { label = 'teapot', pin = newPin() }: TokenOptions = {}): Promise<SoftHsm> {
    mkdirSync(join(directory, 'tokens'), { recursive: true, mode: 0o700 });
    const token = new SoftHsm(directory, label, pin);
    const settings = [
      'objectstore.backend = file',
      `directories.tokendir = ${token.tokenDirectory}`,
      'log.level = ERROR',
    ];
    const configuration = token.env['SOFTHSM2_CONF']!;
    if (!existsSync(configuration)) writeFileSync(configuration, `${settings.join('\n')}\n`, { mode: 0o600 });
    const init = ['--init-token', '--free', '--label', label, '--pin', pin, '--so-pin', token.#soPin];
    await promisify(execFile)('softhsm2-util', init, { env: { ...process.env, ...token.env } });
    return token;
  }

  /** Another token in the same store: the same module and environment with another label and PIN. */
  initSecondToken(options: TokenOptions & { readonly label: string }): Promise<SoftHsm> {
    return SoftHsm.create(this.directory, options);
  }

  /** All objects that the user sees, asked for by a process of its own. */
  keys(): Promise<TokenObject[]> {
    return listObjects(this);
  }

  /** Destroys all objects with this CKA_ID, from another process, without the knowledge of the process that uses them. */
  deleteObject(idHex: string): Promise<number> {
    return deleteObjects(this, idHex);
  }

  /** The security officer sets the PIN of the user. {@link SoftHsm.pin} stays as it was: it is right again once it is set again. */
  setUserPin(pin: string): Promise<void> {
    return initUserPin(this, this.#soPin, pin);
  }

  /** Puts an AES key that the test knows into the token. */
  importAesKey(key: AesKeyImport): Promise<void> {
    return importAesKey(this, key);
  }
}
