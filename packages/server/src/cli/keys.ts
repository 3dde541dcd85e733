import { destroyRetiredKey, generateKey, promoteKey, restoreKey, RETIRED_GRACE_MS } from '@teapot-kms/core';
import type { GenerateOptions as CoreOptions, KeysetAdmin } from '@teapot-kms/core';
import type { Command } from 'commander';
import { gathered } from './backup-options.ts';
import { durationOption } from './duration-option.ts';
import { checkedByReports, withEvidenceOptions } from './evidence.ts';
import type { EvidenceOptions } from './evidence.ts';
import { ExitCode, UsageError } from './exit-codes.ts';
import { checkParent, directoryFor, withAdmin, withKeyStoreOptions, withStore } from './key-store.ts';
import { list, report, summary, withoutNewIds } from './keys-output.ts';
import type { KeysOptions } from './keys-output.ts';
import { registerConfirm } from './keys-confirm.ts';
import { registerConvert } from './keys-convert.ts';
import { registerExport, writeBackup } from './keys-export.ts';
import { registerImport } from './keys-import.ts';
import { registerRetire } from './keys-retire.ts';
import { checkOwner, parseOwner } from './owner-option.ts';
import { outputOption, print, printError } from './output.ts';
import { hasTerminal, typed } from './terminal.ts';

export function registerKeys(program: Command): void {
  const keys = program.command('keys').description('Generate, list and rotate the keys of a keyset');
  keys.addHelpText(
    'after',
    `
"teapot-kms rotate" does a whole rotation. It has two phases, so that every replica has the new key before it is used:
  1. keys generate          the new key is pending: every replica loads it, and it encrypts nothing
  2. keys promote KEY       with a report of every replica ("teapot-kms status --report"), which proves that it has loaded the key;
                            kube-apiserver sees the new key_id within a minute
Then rewrite the data (kubectl get secrets -A -o json | kubectl replace -f -), and look what still needs the old key: "teapot-kms scan
--report FILE" counts all objects by key. Counters of decrypts that stand still prove nothing. Only then:
  3. keys retire OLD        with that file (--scan), which proves that no object needs the key; "keys restore OLD" undoes this
  4. keys destroy OLD       final, a week later: backups of etcd from before the rewrite can no longer be decrypted`,
  );
  const change = (name: string, description: string) =>
    withKeyStoreOptions(keys.command(name).description(description))
      .option('--dry-run', 'check and show the change without making it')
      .addOption(outputOption());

  change('generate', 'Generate a key: the first key of a new keyset, or a pending key')
    .option('--create-parents', 'create missing directories above the keyset directory')
    .option(
      '--owner <user[:group]>',
      'whom new files and a new directory belong to, for root. Default: the owner of the directory',
    )
    .option('--yes', 'on a terminal: do not ask before a new keyset is made')
    .option(
      '--escrow-to <age1...>',
      'only for a token: make the key outside, write a copy of it for this age key, and put it into the token; may be repeated',
      gathered,
    )
    .option('--escrow-file <file>', 'the file for the copy; it must not exist yet')
    .action(async (options: GenerateOptions) => {
      const made = await withStore(options, async ({ store, admin }) => {
        if (options.owner !== undefined) {
          const owner = parseOwner(options.owner);
          checkOwner(owner, directoryFor(options, store.uri));
          admin.ownedBy?.(owner);
        }
        if (!(await admin.readManifest())) await checkNewKeyset(store.uri, options);
        const escrow = escrowOf(admin, options);
        const change = await generateKey(admin, { dryRun: options.dryRun ?? false, ...(escrow && { escrow }) });
        return options.dryRun ? withoutNewIds(change) : change;
      });
      const what = made.before ? 'pending: promote it when every replica has loaded it' : 'the primary of a new keyset';
      report(options, made, `generated key ${made.keyId}, ${what}`, { generated: made.keyId });
    });
  withKeyStoreOptions(keys.command('list').description('Show the keys and their states'))
    .addOption(outputOption())
    .action(listKeys);
  withEvidenceOptions(
    change(
      'promote <key-id>',
      'Make a pending key the primary: kube-apiserver then encrypts with it, and older data is stale',
    ),
    'a replica without the key can no longer decrypt new data',
  ).action(async (keyId: string, options: KeysOptions & EvidenceOptions) => {
    const made = await withStore(options, async ({ store, admin }) => {
      const check = await checkedByReports(store, keyId, options);
      const { dryRun = false, unverified = false } = options;
      return promoteKey(admin, keyId, { dryRun, unverified, ...(check && { check }) });
    });
    report(options, made, `key ${keyId} is the primary; rewrite the data to encrypt it with this key`);
  });
  registerRetire(change);
  change('restore <key-id>', 'Undo "retire": the key decrypts again').action(
    async (keyId: string, options: KeysOptions) => {
      const rules = { dryRun: options.dryRun ?? false };
      const made = await withAdmin(options, (admin) => restoreKey(admin, keyId, rules));
      report(options, made, `key ${keyId} decrypts again`);
    },
  );
  change('destroy <key-id>', 'Destroy a key that has been retired for a week; this cannot be undone')
    .option('--yes', 'do not ask for the id of the key')
    .addOption(
      durationOption('--grace <duration>', 'how long the key must have been retired', RETIRED_GRACE_MS, '168h, a week'),
    )
    .action(async (keyId: string, options: KeysOptions & { yes?: boolean; grace: number }) => {
      const graceMs = options.grace;
      const made = await withAdmin(options, async (admin) => {
        await destroyRetiredKey(admin, keyId, { dryRun: true, graceMs });
        if (!options.dryRun && !options.yes) await confirmDestruction(keyId);
        return destroyRetiredKey(admin, keyId, { dryRun: options.dryRun ?? false, graceMs });
      });
      report(options, made, `key ${keyId} is destroyed: data encrypted with it is lost`);
    });
  registerConvert(change);
  registerConfirm(change);
  registerExport(keys);
  registerImport(change);
}

interface GenerateOptions extends KeysOptions {
  readonly createParents?: boolean;
  readonly owner?: string;
  readonly yes?: boolean;
  readonly escrowTo?: readonly string[];
  readonly escrowFile?: string;
}

/** @throws {@link UsageError} where a copy can be had later, or has no place */
function escrowOf(admin: KeysetAdmin, { escrowTo, escrowFile }: GenerateOptions): CoreOptions['escrow'] | undefined {
  if (escrowTo === undefined && escrowFile === undefined) return undefined;
  if (admin.readKey)
    throw new UsageError('this key store gives its keys out: use "keys export" instead of --escrow-to');
  if (escrowTo === undefined || escrowFile === undefined)
    throw new UsageError('--escrow-to and --escrow-file belong together');
  return (backup) => writeBackup(escrowFile, backup, { recipients: escrowTo });
}

/**
 * A mistyped path must not become a keyset.
 * @throws {@link UsageError}
 */
async function checkNewKeyset(uri: string, options: GenerateOptions): Promise<void> {
  checkParent(options, uri);
  const { yes, dryRun } = options;
  if (yes || dryRun || !hasTerminal()) return;
  await typed('new', `There is no keyset at ${uri}. A new one cannot decrypt data of an existing cluster.`);
}

/** @throws {@link UsageError} if the id is not typed */
async function confirmDestruction(keyId: string): Promise<void> {
  if (!hasTerminal()) throw new UsageError(`nobody can confirm that key ${keyId} is destroyed; pass --yes`);
  await typed(keyId, 'Data that is still encrypted with this key will be lost.');
}

async function listKeys(options: KeysOptions): Promise<void> {
  const current = await withAdmin(options, (admin) => admin.readManifest());
  if (current) {
    print(options.output === 'json' ? JSON.stringify(summary(current.manifest)) : list(current.manifest));
    return;
  }
  process.exitCode = ExitCode.FAILED;
  printError(
    'there is no keyset. If there was one, mount its volume or restore it from a backup. For a new cluster: keys generate',
  );
}
