import {
  destroyRetiredKey,
  generateKey,
  MIN_PENDING_MS,
  promoteKey,
  restoreKey,
  retireKey,
  systemClock,
} from '@teapot-kms/core';
import type { Change, Manifest } from '@teapot-kms/core';
import type { Command } from 'commander';
import { keyIdHash } from '../kms/key-id-hash.ts';
import { ExitCode } from './exit-codes.ts';
import { withAdmin, withKeyStoreOptions } from './key-store.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { age, outputOption, print, printError, table } from './output.ts';
import type { OutputFormat } from './output.ts';

interface KeysOptions extends KeyStoreOptions {
  readonly dryRun?: boolean;
  readonly now?: boolean;
  readonly output: OutputFormat;
}

export function registerKeys(program: Command): void {
  const keys = program.command('keys').description('Generate, list and rotate the keys of a keyset');
  keys.addHelpText(
    'after',
    `
A rotation has two phases, so that every replica has the new key before it is used:
  1. keys generate          the new key is pending: every replica loads it, and it encrypts nothing
  2. keys promote KEY       at least ${age(MIN_PENDING_MS)} later; kube-apiserver sees the new key_id within a minute
Then rewrite the data (kubectl get secrets -A -o json | kubectl replace -f -). Wait until the count of decrypts with the old key no
longer grows (metric teapot_kms_decrypts_total, or "status"). Only then:
  3. keys retire OLD        the key no longer decrypts; "keys restore OLD" undoes this
  4. keys destroy OLD       final: backups of etcd from before the rewrite can no longer be decrypted`,
  );
  const change = (name: string, description: string) =>
    withKeyStoreOptions(keys.command(name).description(description))
      .option('--dry-run', 'check and show the change without making it')
      .addOption(outputOption());

  change('generate', 'Generate a key: the first key of a new keyset, or a pending key').action(
    async (options: KeysOptions) => {
      const made = await withAdmin(options, (admin) => generateKey(admin, { dryRun: options.dryRun ?? false }));
      const what = made.before ? 'pending: promote it when every replica has loaded it' : 'the primary of a new keyset';
      report(options, made, `generated key ${made.keyId}, ${what}`, { generated: made.keyId });
    },
  );
  withKeyStoreOptions(keys.command('list').description('Show the keys and their states'))
    .addOption(outputOption())
    .action(async (options: KeysOptions) => {
      const current = await withAdmin(options, (admin) => admin.readManifest());
      if (current) {
        print(options.output === 'json' ? JSON.stringify(summary(current.manifest)) : list(current.manifest));
        return;
      }
      process.exitCode = ExitCode.FAILED;
      printError(
        'there is no keyset. If there was one, mount its volume or restore it from a backup. For a new cluster: keys generate',
      );
    });
  const changeOne = (name: string, description: string, make: typeof promoteKey, done: string) =>
    change(`${name} <key-id>`, description).action(async (keyId: string, options: KeysOptions) => {
      const rules = { dryRun: options.dryRun ?? false, minPendingMs: options.now ? 0 : MIN_PENDING_MS };
      report(options, await withAdmin(options, (admin) => make(admin, keyId, rules)), `key ${keyId} ${done}`);
    });
  changeOne(
    'promote',
    'Make a pending key the primary: kube-apiserver then encrypts with it, and older data is stale',
    promoteKey,
    'is the primary; rewrite the data to encrypt it with this key',
  ).option(
    '--now',
    `skip the check that the key has been pending for ${age(MIN_PENDING_MS)} (only with a single replica)`,
  );
  changeOne(
    'retire',
    'End the use of a former primary or of a pending key, and keep its key material',
    retireKey,
    'is retired; "keys restore" undoes that',
  );
  changeOne('restore', 'Undo "retire": the key decrypts again', restoreKey, 'decrypts again');
  changeOne(
    'destroy',
    'Destroy a retired key; this cannot be undone',
    destroyRetiredKey,
    'is destroyed: data encrypted with it is lost',
  );
}

function report(options: KeysOptions, { after }: Change, text: string, extra: object = {}): void {
  if (options.output === 'json')
    return print(JSON.stringify({ ...extra, dryRun: options.dryRun ?? false, ...summary(after) }));
  print(`${options.dryRun ? 'dry run, nothing is changed: ' : ''}${text}\n\n${list(after)}`);
}

function summary({ contextId, primary, keys }: Manifest): object {
  return { contextId, primary, keys: keys.map((key) => ({ ...key, keyIdHash: keyIdHash(key.id) })) };
}

function list({ primary, keys }: Manifest): string {
  const rows = keys.map(({ id, state, since }) => {
    const role = id === primary ? 'primary' : state === 'promoted' ? 'decrypt-only' : state;
    return [id, role, `${age(systemClock.wall() - Date.parse(since))} ago`];
  });
  return table([['KEY', 'STATE', 'SINCE'], ...rows]);
}
