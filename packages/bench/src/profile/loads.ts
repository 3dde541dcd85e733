import { SoftHsm } from '@teapot-kms/testing/daemons';
import { join } from 'node:path';
import { fileKeys, tokenKeys } from '../load/key-stores.ts';
import type { KeyStore } from '../load/key-stores.ts';

/** A load to profile the plugin under. */
export interface ProfiledLoad {
  readonly name: string;
  readonly about: string;
  readonly inFlight: number;
  missing?(): string | undefined;
  keyStore(directory: string): Promise<KeyStore>;
}

/** The first one is the default. */
export const profiledLoads: readonly [ProfiledLoad, ...ProfiledLoad[]] = [
  {
    name: 'decrypt-storm',
    about: 'Decrypt storm, keys in a file, 100 calls in flight',
    inFlight: 100,
    keyStore: fileKeys,
  },
  {
    name: 'serial',
    about: 'one Decrypt after the other, keys in a file',
    inFlight: 1,
    keyStore: fileKeys,
  },
  {
    name: 'token-storm',
    about: 'Decrypt storm, the key in a token, its local KEK in the cache, 100 calls in flight',
    inFlight: 100,
    missing: () => SoftHsm.missing(),
    keyStore: async (directory) => tokenKeys(directory, await SoftHsm.create(join(directory, 'hsm'))),
  },
];
