import { importKeyset, wipeKeys } from '@teapot-kms/core';
import type { Command } from 'commander';
import { createReadStream } from 'node:fs';
import { openerOf, withOpenerOptions } from './backup-options.ts';
import type { OpenerOptions } from './backup-options.ts';
import { proofsOf } from './evidence.ts';
import { UsageError } from './exit-codes.ts';
import { checkParent, withStore } from './key-store.ts';
import { list, summary } from './keys-output.ts';
import type { KeysOptions } from './keys-output.ts';
import { print } from './output.ts';

export function registerImport(change: (name: string, description: string) => Command): void {
  withOpenerOptions(
    change('import <file>', 'Restore a keyset, or the keys that it has lost, from a backup of "keys export"'),
  )
    .option('--create-parents', 'create missing directories above the keyset directory')
    .addHelpText(
      'after',
      `
It brings back what is missing or damaged, and touches nothing that is whole. A newer manifest stays. A backup of another keyset is refused.
A host that remembers a newer generation than the backup's only decrypts until "teapot-kms keys confirm".`,
    )
    .action(importKeys);
}

type ImportOptions = KeysOptions & OpenerOptions & { readonly createParents?: boolean };

async function importKeys(file: string, options: ImportOptions): Promise<void> {
  const dryRun = options.dryRun ?? false;
  const { restored, after, verified } = await restoreBackup(file, options);
  if (options.output === 'json') {
    print(JSON.stringify({ restored, verified, dryRun, ...summary(after) }));
    return;
  }
  const what = restored.length === 0 ? 'no key was missing' : `restored ${restored.join(', ')}`;
  print(`${dryRun ? 'dry run, nothing is changed: ' : ''}${what}\n\n${list(after)}`);
}

/**
 * Restores a keyset from a backup.
 * @param file - `-` is stdin
 */
export async function restoreBackup(file: string, options: Omit<ImportOptions, 'output'>) {
  const locked = await readBounded(file);
  const how = await openerOf(options);
  const [{ unpackKeyset }, { unlock }] = await Promise.all([
    import('../backup/archive.ts'),
    import('../backup/age.ts'),
  ]);
  const archive = await unlock(locked, how);
  const backup = await unpackKeyset(archive).finally(() => archive.fill(0));
  try {
    const dryRun = options.dryRun ?? false;
    return await withStore(options, async ({ store, admin }) => {
      checkParent(options, store.uri);
      const made = await importKeyset(admin, backup, { dryRun });
      // As a plugin will see it: a token compares its keys only now.
      return { ...made, verified: dryRun ? [] : [...(await proofsOf(store)).keys()] };
    });
  } finally {
    wipeKeys(backup);
  }
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
