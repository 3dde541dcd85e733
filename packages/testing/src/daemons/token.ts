import { rememberSecret } from '../assert/remember-secret.ts';
import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where Debian puts the libraries of this machine. */
export const LIBRARIES = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;

/** A PKCS#11 token for a test: what a process needs to use it. */
export interface Token {
  /** What a process needs in its environment before it loads the module. */
  readonly env: Readonly<Record<string, string>>;
  /** Path of the PKCS#11 module. */
  readonly module: string;
  /** CKA_LABEL of the token. */
  readonly label: string;
  readonly pin: string;
  /** The PIN in a file, mode 0600, without a line break. */
  readonly pinFile: string;
  /** Where its files are, and where more may be put. */
  readonly directory: string;
}

/** 128 random bits in hex: no tool takes such a PIN for an option. */
export function newPin(): string {
  const pin = randomBytes(16).toString('hex');
  rememberSecret(Buffer.from(pin));
  return pin;
}

/** Writes the PIN of a token into a file beside it. */
export function writePin(directory: string, label: string, pin: string): string {
  const path = join(directory, `${label}.pin`);
  writeFileSync(path, pin, { mode: 0o600 });
  return path;
}

/**
 * For a test that has to say that it is skipped.
 *
 * @returns what is missing and how to get it; `undefined` where everything is there
 */
export function missing(files: readonly string[], programs: readonly string[]): string | undefined {
  const path = (process.env['PATH'] ?? '').split(delimiter);
  const lacking = [
    ...files.filter((file) => !existsSync(file)),
    ...programs.filter((program) => !path.some((directory) => existsSync(join(directory, program)))),
  ];
  return lacking.length === 0 ? undefined : `no ${lacking.join(', ')}: bash packages/testing/pkcs11/setup.sh`;
}
