import { HostRecords, KmsError } from '@teapot-kms/core';
import type { Command } from 'commander';
import { UsageError } from './exit-codes.ts';
import { configOf, instanceOf, withAdmin } from './key-store.ts';
import type { KeysOptions } from './keys-output.ts';
import { print } from './output.ts';

/** @param change - makes a command that changes a keyset */
export function registerConfirm(change: (name: string, description: string) => Command): void {
  change(
    'confirm',
    'Confirm on this host that the keyset in the key store is the right one, after it was restored or exchanged on purpose',
  ).action(confirm);
}

/** Records the keyset as the one that this host uses: the running plugin takes it at its next probe. */
async function confirm(options: KeysOptions): Promise<void> {
  if (options.config === undefined) {
    throw new UsageError('expected --config FILE [--instance NAME]: the record is of an instance, not of a keyset');
  }
  const { stateDirectory } = configOf(options);
  const { socket } = instanceOf(options);
  const current = await withAdmin(options, (admin) => admin.readManifest());
  if (!current) throw new KmsError('ERR_KMS_KEYSET_RULE', 'there is no keyset to confirm');
  const { contextId, generation, hash } = current.manifest;
  const records = new HostRecords(stateDirectory);
  const before = await records.read(socket).catch(() => undefined);
  if (!options.dryRun) await records.write(socket, current.manifest);
  if (options.output === 'json') {
    print(JSON.stringify({ dryRun: options.dryRun ?? false, before, confirmed: { contextId, generation, hash } }));
    return;
  }
  const show = (one: { contextId: string; generation: number }) =>
    `generation ${one.generation} of keyset ${one.contextId}`;
  print(
    `${options.dryRun ? 'dry run, nothing is changed: ' : ''}this host uses ${show(current.manifest)} for ${socket}`,
  );
  if (before) print(`before: ${show(before)}`);
}
