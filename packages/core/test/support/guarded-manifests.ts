import { HostRecords } from '../../src/keyset/host-records.ts';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import { KeysetGuard } from '../../src/service/keyset-guard.ts';
import { manifestOf } from './manifests.ts';

export const hash = (digit: string): string => digit.repeat(64);
export const manifest = (generation: number, own: string, replaces?: string): StoredManifest => ({
  ...manifestOf('promoted'),
  formatVersion: 2,
  generation,
  hash: hash(own),
  ...(replaces !== undefined && { replaces: hash(replaces) }),
});
/** Of one keyset. */
export const first = manifest(1, 'a');
export const second = manifest(2, 'b', 'a');
/** `second`, in which another key is the primary. */
export const replaced: StoredManifest = { ...second, primary: 'key-1', keys: manifestOf('promoted', 'promoted').keys };
/** Of another keyset. */
export const foreign = { ...manifest(1, 'c'), contextId: 'f'.repeat(32) };
/** Made from a copy of `first` when `second` was. */
export const fork = manifest(2, 'd', 'a');

export const guardIn = (directory: string) =>
  new KeysetGuard({ name: '/run/kms.sock', uri: 'file:/keys', records: new HostRecords(directory) });
