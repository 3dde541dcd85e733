import {
  destroyRetiredKey,
  generateKey,
  HostRecords,
  MIN_PENDING_MS,
  promoteKey,
  restoreKey,
  retireKey,
  systemClock,
} from '@teapot-kms/core';
import type { Change, ChangeOptions, KeysetAdmin, Manifest } from '@teapot-kms/core';
import type { Command } from 'commander';
import { keyIdHash } from '../kms/key-id-hash.ts';
import { CliError, ExitCode } from './exit-codes.ts';
import { configOf, instanceOf, withAdmin, withKeyStoreOptions } from './key-store.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { age, outputOption, print, table } from './output.ts';
import type { OutputFormat } from './output.ts';

interface KeysOptions extends KeyStoreOptions {
  readonly dryRun?: boolean;
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
      if (!current)
        throw new CliError(
          ExitCode.FAILED,
          'there is no keyset. If there was one, mount its volume or restore it from a backup. For a new cluster: keys generate',
        );
      print(options.output === 'json' ? JSON.stringify(summary(current.manifest)) : list(current.manifest));
    });
  change(
    'promote <key-id>',
    'Make a pending key the primary: kube-apiserver then encrypts with it, and older data is stale',
  )
    .option(
      '--now',
      `skip the check that the key has been pending for ${age(MIN_PENDING_MS)} (only with a single replica)`,
    )
    .action(async (keyId: string, options: KeysOptions & { now?: boolean }) => {
      const minPendingMs = options.now ? 0 : MIN_PENDING_MS;
      const change = { dryRun: options.dryRun ?? false, minPendingMs };
      const made = await withAdmin(options, (admin) => promoteKey(admin, keyId, change));
      report(options, made, `key ${keyId} is the primary; rewrite the data to encrypt it with this key`);
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

  withKeyStoreOptions(
    keys
      .command('confirm')
      .description(
        'Confirm on this host that the keyset in the key store is the right one, after it was restored or exchanged on purpose',
      ),
  )
    .addOption(outputOption())
    .option('--dry-run', 'show what would be confirmed')
    .action(confirm);
}

type Apply = (admin: KeysetAdmin, keyId: string, options: ChangeOptions) => Promise<Change>;

/** Records the keyset as the one that this host uses: the running plugin takes it at its next probe. */
async function confirm(options: KeysOptions): Promise<void> {
  const { stateDirectory, socket } = { ...configOf(options), ...instanceOf(options) };
  const current = await withAdmin(options, (admin) => admin.readManifest());
  if (!current) throw new CliError(ExitCode.FAILED, 'there is no keyset to confirm');
  const { manifest } = current;
  const records = new HostRecords(stateDirectory);
  const before = await records.read(socket).catch(() => undefined);
  if (!options.dryRun) await records.write(socket, manifest);
  const { contextId, generation, hash } = manifest;
  if (options.output === 'json') {
    print(JSON.stringify({ dryRun: options.dryRun ?? false, before, confirmed: { contextId, generation, hash } }));
    return;
  }
  const show = (one: { contextId: string; generation: number }) =>
    `keyset ${one.contextId}, generation ${one.generation}`;
  print(`${options.dryRun ? 'dry run, nothing is changed: ' : ''}this host uses ${show(manifest)} for ${socket}`);
  if (before) print(`before: ${show(before)}`);
}

function report(options: KeysOptions, { after }: Change, text: string, extra: object = {}): void {
  if (options.output === 'json')
    return print(JSON.stringify({ ...extra, dryRun: options.dryRun ?? false, ...summary(after) }));
  print(`${options.dryRun ? 'dry run, nothing is changed: ' : ''}${text}\n\n${list(after)}`);
}

function summary({ contextId, generation, primary, keys }: Manifest): object {
  return { contextId, generation, primary, keys: keys.map((key) => ({ ...key, keyIdHash: keyIdHash(key.id) })) };
}

function list({ primary, keys }: Manifest): string {
  const rows = keys.map(({ id, state, since }) => {
    const role = id === primary ? 'primary' : state === 'promoted' ? 'decrypt-only' : state;
    return [id, role, `${age(systemClock.wall() - Date.parse(since))} ago`];
  });
  return table([['KEY', 'STATE', 'SINCE'], ...rows]);
}
