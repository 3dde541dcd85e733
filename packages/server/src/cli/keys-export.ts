import { exportKeyset, wipeKeys } from '@teapot-kms/core';
import type { KeysetBackup } from '@teapot-kms/core';
import type { Command } from 'commander';
import type { Lock } from '../backup/age.ts';
import { lockOf, withLockOptions } from './backup-options.ts';
import type { LockOptions } from './backup-options.ts';
import { UsageError } from './exit-codes.ts';
import { withAdmin, withKeyStoreOptions } from './key-store.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { writeNew } from './output-file.ts';
import { outputOption, print, printError } from './output.ts';
import type { OutputFormat } from './output.ts';

export function registerExport(keys: Command): void {
  withLockOptions(withKeyStoreOptions(keys.command('export')))
    .description('Write an encrypted backup of a keyset with its keys: an age file')
    .requiredOption('-o, --out <file>', 'the file to write; it must not exist yet')
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
The file is an age file (https://age-encryption.org) around a tar archive of the keyset, so "age -d" and "tar" can open it without this
program. "teapot-kms keys import" restores it. Keep it, and the identity or passphrase that opens it, away from this host and from etcd.
Make a new one after each change of the keyset. Keys in a token cannot be exported: see "keys generate --escrow-to".`,
    )
    .action(exportKeys);
}

async function exportKeys(
  options: KeyStoreOptions & LockOptions & { out: string; output: OutputFormat },
): Promise<void> {
  const how = await lockOf(options);
  const { backup, manifest, missing } = await withAdmin(options, exportKeyset);
  try {
    await writeBackup(options.out, backup, how);
  } finally {
    wipeKeys(backup);
  }
  const { generation, primary } = manifest;
  for (const id of missing) printError(`WARNING: retired key ${id} is not in the key store any more`);
  if (options.output === 'json') {
    print(JSON.stringify({ file: options.out, generation, primary, keys: [...backup.keys.keys()], missing }));
    return;
  }
  print(
    `${options.out}: generation ${generation}, primary ${primary}, ${backup.keys.size} ${backup.keys.size === 1 ? 'key' : 'keys'}`,
  );
}

/**
 * Encrypts a backup into a new file with mode 0600, durably.
 * @throws {@link UsageError} if the file exists: a backup never replaces another one
 */
export async function writeBackup(path: string, backup: KeysetBackup, how: Lock): Promise<void> {
  // Only these commands need the libraries.
  const [{ packKeyset }, { lock }] = await Promise.all([import('../backup/archive.ts'), import('../backup/age.ts')]);
  const archive = await packKeyset(backup);
  const locked = await lock(archive, how).finally(() => archive.fill(0));
  try {
    await writeNew(path, locked);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new UsageError(`${path} exists already; name a new file, because a backup never replaces another one`);
  }
}
