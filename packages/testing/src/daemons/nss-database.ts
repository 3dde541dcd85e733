import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { LIBRARIES, missing, newPin, writePin } from './token.ts';
import type { Token } from './token.ts';
import { initUserPin } from './token-objects.ts';

const MODULE = `${LIBRARIES}/libsoftokn3.so`;

/** A token of NSS (softokn): a database in a directory. Its module needs parameters for C_Initialize. */
export class NssDatabase implements Token {
  readonly env = {};
  readonly module = MODULE;
  readonly label = 'teapot-nss';
  readonly pin = newPin();
  readonly pinFile: string;
  readonly directory: string;
  readonly libraryParameters: string;

  private constructor(directory: string) {
    this.directory = directory;
    const database = join(directory, 'database');
    mkdirSync(database, { recursive: true, mode: 0o700 });
    this.pinFile = writePin(directory, this.label, this.pin);
    const settings = { configdir: `sql:${database}`, certPrefix: '', keyPrefix: '', secmod: 'secmod.db' };
    const parameters = Object.entries({ ...settings, dbTokenDescription: this.label });
    this.libraryParameters = `${parameters.map(([name, value]) => `${name}='${value}'`).join(' ')} flags=`;
  }

  /** What a test lacks for it, and how to get that; see {@link missing}. */
  static missing(): string | undefined {
    return missing([MODULE], []);
  }

  /**
   * Makes a database, and sets its PIN.
   * @param directory - for its files; made where it is missing
   */
  static async create(directory: string): Promise<NssDatabase> {
    const token = new NssDatabase(directory);
    // The security officer of a new database has no PIN.
    await initUserPin(token, '', token.pin, token.libraryParameters);
    return token;
  }
}
