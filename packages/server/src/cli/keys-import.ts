import {
  exportKeyset,
  importKeyset,
  KmsError,
  providerFor,
  SharedResources,
  uriOfDirectory,
  wipeKeys,
} from '@teapot-kms/core';
import type { KeysetBackup } from '@teapot-kms/core';
import type { Command } from 'commander';
import { createReadStream, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { openerOf, withOpenerOptions } from './backup-options.ts';
import type { OpenerOptions } from './backup-options.ts';
import { proofsOf } from './evidence.ts';
import { ExitCode, UsageError } from './exit-codes.ts';
import { checkParent, withStore } from './key-store.ts';
import { list, summary } from './keys-output.ts';
import type { KeysOptions } from './keys-output.ts';
import { print, printError, printProblem } from './output.ts';

export function registerImport(change: (name: string, description: string) => Command): void {
  withOpenerOptions(
    change(
      'import <file>',
      'Restore a keyset, or the keys that it has lost, from a backup of "keys export", or from a copy of a keyset directory',
    ),
  )
    .option('--create-parents', 'create missing directories above the keyset directory')
    .addHelpText(
      'after',
      `
It brings back what is missing or damaged, and touches nothing that is whole. A newer manifest stays. A backup of another keyset is refused.
A key that only the older manifest in the store lists stays there, and is named. So does a key of version 1 that has other bytes here.
A copy of a keyset directory may lack keys, or have damaged ones: then the others come back.
A host that remembers a newer generation than the backup's only decrypts until "teapot-kms keys confirm".`,
    )
    .action(importKeys);
}

type ImportOptions = KeysOptions & OpenerOptions & { readonly createParents?: boolean };

async function importKeys(file: string, options: ImportOptions): Promise<void> {
  const dryRun = options.dryRun ?? false;
  const { restored, before, after, verified, lacking, unlisted, disputed } = await restoreBackup(file, options);
  for (const id of unlisted) {
    printError(
      `warning: key ${id} stays in the key store, and the manifest of the backup does not list it. The plugin does not load it after a restart. If data may still need it, compare "teapot-kms keys list" on all nodes, and restore the keyset that lists it before the plugin restarts`,
    );
  }
  disputed.forEach(printProblem);
  if (disputed.length > 0) process.exitCode = ExitCode.FAILED;
  if (options.output === 'json') {
    const problems = disputed.map(({ message }) => message);
    print(JSON.stringify({ restored, lacking, unlisted, disputed: problems, verified, dryRun, ...summary(after) }));
    return;
  }
  const news = [...restored, ...(before?.generation === after.generation ? [] : ['the manifest'])];
  const what = news.length === 0 ? 'no key was missing' : `restored ${news.join(', ')}`;
  const rest = lacking.length === 0 ? '' : `\n${file} does not have ${lacking.join(', ')}, or not whole`;
  print(`${dryRun ? 'dry run, nothing is changed: ' : ''}${what}${rest}\n\n${list(after)}`);
}

/**
 * Restores a keyset from a backup.
 * @param file - `-` is stdin; or the directory of a copy
 */
export async function restoreBackup(file: string, options: Omit<ImportOptions, 'output'>) {
  const partial = statSync(file, { throwIfNoEntry: false })?.isDirectory() ?? false;
  const { backup, lacking } = partial ? await copyIn(file, options) : await backupIn(file, options);
  try {
    const dryRun = options.dryRun ?? false;
    return await withStore(options, async ({ store, admin }) => {
      checkParent(options, store.uri);
      const made = await importKeyset(admin, backup, { dryRun, partial });
      // As a plugin will see it: a token compares its keys only now.
      const proofs = dryRun ? undefined : await proofsOf(store).catch(unlessSettings);
      return { ...made, verified: [...(proofs?.keys() ?? [])], lacking: admin.readKey ? lacking : [] };
    });
  } finally {
    wipeKeys(backup);
  }
}

/** A plugin needs more settings than an administrator, such as "serves" of a Secret: without them, nothing can be loaded, and all is done. */
function unlessSettings(error: unknown): undefined {
  if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_INVALID_URI') throw error;
}

async function backupIn(file: string, options: OpenerOptions) {
  const locked = await readBounded(file);
  const how = await openerOf(options);
  const [{ unpackKeyset }, { unlock }] = await Promise.all([
    import('../backup/archive.ts'),
    import('../backup/age.ts'),
  ]);
  const archive = await unlock(locked, how);
  return { backup: await unpackKeyset(archive).finally(() => archive.fill(0)), lacking: [] };
}

/** Keys of a copy that are damaged or missing stay out: they take the place of none. */
async function copyIn(
  directory: string,
  { identity, passphraseFile }: OpenerOptions,
): Promise<{ readonly backup: KeysetBackup; readonly lacking: readonly string[] }> {
  if (identity !== undefined || passphraseFile !== undefined) {
    throw new UsageError(
      `${directory} is a directory, and nothing in it is encrypted: leave out the identity or passphrase`,
    );
  }
  const source = providerFor('file:').open(uriOfDirectory('file', resolve(directory)), {}, new SharedResources());
  const { backup, missing } = await exportKeyset(source.admin!, { partial: true });
  return { backup, lacking: missing };
}

/** Longest backup that is read, in bytes: the largest archive, in the armored form. */
const MAX_BYTES = 4 * 1024 * 1024;

/** @param file - `-` is stdin */
async function readBounded(file: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of file === '-' ? process.stdin : createReadStream(file)) {
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size > MAX_BYTES) throw new UsageError(`${file}: more than ${MAX_BYTES} bytes, too long for a backup`);
  }
  return Buffer.concat(chunks);
}
