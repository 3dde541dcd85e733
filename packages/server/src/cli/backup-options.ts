import { Option } from 'commander';
import type { Command } from 'commander';
import { readFileSync } from 'node:fs';
import type { Lock, Opener } from '../backup/age.ts';
import { UsageError } from './exit-codes.ts';
import { hidden } from './terminal.ts';

export interface LockOptions {
  readonly recipient?: readonly string[];
  readonly recipientsFile?: string;
  readonly passphrase?: boolean;
  readonly passphraseFile?: string;
}

/** Adds the ways to say who can open a backup. */
export function withLockOptions(command: Command): Command {
  return command
    .option('-r, --recipient <age1...>', 'encrypt for the holder of this age key; may be repeated', gathered)
    .option('-R, --recipients-file <file>', 'encrypt for the age keys in this file, one per line')
    .addOption(new Option('--passphrase', 'ask for a passphrase on the terminal').conflicts('passphraseFile'))
    .option('--passphrase-file <file>', 'use the first line of this file as the passphrase');
}

export interface OpenerOptions {
  readonly identity?: string;
  readonly passphraseFile?: string;
}

/** Adds the ways to open a backup. */
export function withOpenerOptions(command: Command): Command {
  return command
    .addOption(
      new Option('-I, --identity <file>', 'open the backup with the age keys in this file').conflicts('passphraseFile'),
    )
    .option(
      '--passphrase-file <file>',
      'use the first line of this file as the passphrase. Default: ask on the terminal',
    );
}

/** @throws {@link UsageError} if the options name nobody, or both kinds */
export async function lockOf(options: LockOptions): Promise<Lock> {
  const { recipient = [], recipientsFile, passphrase, passphraseFile } = options;
  const recipients = [...recipient, ...(recipientsFile === undefined ? [] : linesOf(recipientsFile))];
  const byPassphrase = passphrase === true || passphraseFile !== undefined;
  if (recipients.length > 0 === byPassphrase) {
    throw new UsageError(
      'expected recipients (--recipient, --recipients-file) or a passphrase (--passphrase, --passphrase-file)',
    );
  }
  if (recipients.length > 0) return { recipients };
  if (passphraseFile !== undefined) return { passphrase: passphraseIn(passphraseFile) };
  const first = await hidden('Passphrase for the backup');
  if ((await hidden('The same passphrase again')) !== first) throw new UsageError('the two passphrases differ');
  return { passphrase: first };
}

/** @throws {@link UsageError} if there is nothing to open it with */
export async function openerOf({ identity, passphraseFile }: OpenerOptions): Promise<Opener> {
  if (identity !== undefined) return { identities: linesOf(identity) };
  if (passphraseFile !== undefined) return { passphrase: passphraseIn(passphraseFile) };
  return { passphrase: await hidden('Passphrase of the backup') };
}

function passphraseIn(file: string): string {
  const [line = ''] = readFileSync(file, 'utf8').split(/\r?\n/);
  if (line !== '') return line;
  throw new UsageError(`${file}: expected a passphrase in the first line, found none`);
}

function linesOf(file: string): string[] {
  const lines = readFileSync(file, 'utf8').split(/\r?\n/);
  const keys = lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
  if (keys.length > 0) return keys;
  throw new UsageError(`${file}: expected an age key in each line, found none`);
}

/** Collects the values of an option that may be repeated. */
export const gathered = (value: string, before: readonly string[] = []): string[] => [...before, value];
