import { systemClock } from '@teapot-kms/core';
import type { Change, Manifest } from '@teapot-kms/core';
import { keyIdHash } from '../kms/key-id-hash.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { age, print, table } from './output.ts';
import type { OutputFormat } from './output.ts';

export interface KeysOptions extends KeyStoreOptions {
  readonly dryRun?: boolean;
  readonly output: OutputFormat;
}

/** Prints the keyset after a change. */
export function report(options: KeysOptions, { after }: Change, text: string, extra: object = {}): void {
  if (options.output === 'json')
    return print(JSON.stringify({ ...extra, dryRun: options.dryRun ?? false, ...summary(after) }));
  print(`${options.dryRun ? 'dry run, nothing is changed: ' : ''}${text}\n\n${list(after)}`);
}

/** What JSON output says of a keyset. */
export function summary({ formatVersion, contextId, generation, primary, keys }: Manifest): object {
  const shown = keys.map((key) => ({ ...key, keyIdHash: keyIdHash(key.id) }));
  return { formatVersion, contextId, generation, primary, keys: shown };
}

/** The keys as a table. */
export function list({ primary, keys }: Manifest): string {
  const rows = keys.map(({ id, state, since }) => {
    const role = id === primary ? 'primary' : state === 'promoted' ? 'decrypt-only' : state;
    const passed = systemClock.wall() - Date.parse(since);
    return [id, role, passed < 0 ? age(passed) : `${age(passed)} ago`];
  });
  return table([['KEY', 'STATE', 'SINCE'], ...rows]);
}
