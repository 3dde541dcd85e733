import { destroyRetiredKey, generateKey, MIN_PENDING_MS, promoteKey, restoreKey, retireKey } from '@teapot-kms/core';
import type { Change, ChangeOptions, KeysetAdmin, Manifest } from '@teapot-kms/core';
import type { Command } from 'commander';
import { keyIdHash } from '../kms/key-id-hash.ts';
import { CliError, ExitCode } from './exit-codes.ts';
import { withAdmin, withKeyStoreOptions } from './key-store.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { age, print, table } from './output.ts';

interface KeysOptions extends KeyStoreOptions {
  readonly dryRun?: boolean;
  readonly output: 'text' | 'json';
}

export function registerKeys(program: Command): void {
  const keys = program.command('keys').description('Make, list and rotate the keys of a keyset');
  keys.addHelpText(
    'after',
    `
A rotation takes two steps, so that no replica meets data under a key that it does not have yet:
  1. keys generate          the new key is "pending": it opens on every replica, and seals nothing
  2. keys promote KEY       after ${age(MIN_PENDING_MS)} at least: kube-apiserver sees the new key_id within a minute
Then rewrite the data (kubectl get secrets -A -o json | kubectl replace -f -), wait until the old key's decrypts stand still
(metric teapot_kms_decrypts_total, or "status"), and only then:
  3. keys retire OLD        it opens nothing any more; "keys restore OLD" undoes that
  4. keys destroy OLD       for good: backups of etcd that are older than step 2 are lost with it`,
  );
  const change = (name: string, description: string) =>
    withKeyStoreOptions(keys.command(name).description(description))
      .option('--dry-run', 'say what would change, and whether it may, without changing it')
      .option('--output <format>', 'text or json', 'text');

  change('generate', 'Make a key: the first one of a new keyset, or a pending one').action(
    async (options: KeysOptions) => {
      const made = await withAdmin(options, (admin) => generateKey(admin, { dryRun: options.dryRun ?? false }));
      const what = made.before ? 'pending: promote it when every replica has loaded it' : 'the primary of a new keyset';
      report(options, made, `made key ${made.keyId}, ${what}`, { generated: made.keyId });
    },
  );
  withKeyStoreOptions(keys.command('list').description('Show the keys and their states'))
    .option('--output <format>', 'text or json', 'text')
    .action(async (options: KeysOptions) => {
      const current = await withAdmin(options, (admin) => admin.readManifest());
      if (!current) throw new CliError(ExitCode.FAILED, 'there is no keyset yet; make one with "keys generate"');
      print(options.output === 'json' ? JSON.stringify(summary(current.manifest)) : list(current.manifest));
    });
  change('promote <key-id>', 'Make a pending key the primary: kube-apiserver follows, and old data counts as stale')
    .option(
      '--now',
      `do not wait until the key has been pending for ${age(MIN_PENDING_MS)} (only where there is one replica)`,
    )
    .action(async (keyId: string, options: KeysOptions & { now?: boolean }) => {
      const minPendingMs = options.now ? 0 : MIN_PENDING_MS;
      const change = { dryRun: options.dryRun ?? false, minPendingMs };
      const made = await withAdmin(options, (admin) => promoteKey(admin, keyId, change));
      report(options, made, `key ${keyId} is the primary; rewrite the data to move it to the new key`);
    });
  const changeOne = (name: string, description: string, apply: Apply, done: string) =>
    change(`${name} <key-id>`, description).action(async (keyId: string, options: KeysOptions) => {
      report(
        options,
        await withAdmin(options, (admin) => apply(admin, keyId, { dryRun: options.dryRun ?? false })),
        `key ${keyId} ${done}`,
      );
    });
  changeOne(
    'retire',
    'End the use of a former primary, or of a pending key; its blob is kept',
    retireKey,
    'is retired; "keys restore" undoes that',
  );
  changeOne('restore', 'Undo "retire": the key opens again', restoreKey, 'opens again');
  changeOne(
    'destroy',
    'Destroy a retired key for good',
    destroyRetiredKey,
    'is destroyed: what is sealed under it is lost',
  );
}

type Apply = (admin: KeysetAdmin, keyId: string, options: ChangeOptions) => Promise<Change>;

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
    return [id, role, `${age(Date.now() - Date.parse(since))} ago`];
  });
  return table([['KEY', 'STATE', 'SINCE'], ...rows]);
}
