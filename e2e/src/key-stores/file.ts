import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { KeyStore, KeyStoreFixture } from '../key-store-fixture.ts';
import { managedKeys } from './managed-keys.ts';

/** A keyset directory on the host, changed by nothing but `teapot-kms keys`. */
export const fileKeyStore: KeyStore = { name: 'file', maxOverheadBytes: 160, open };

async function open(directory: string): Promise<KeyStoreFixture> {
  const keyset = join(directory, 'keyset');
  const uri = `file:${keyset}`;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return {
    keys: { uri },
    ...(await managedKeys({ store: ['--uri', uri], keyset })),
    takeAway() {
      renameSync(keyset, `${keyset}.away`);
      return Promise.resolve(() => {
        renameSync(`${keyset}.away`, keyset);
        return Promise.resolve();
      });
    },
    secrets() {
      // A scenario that failed may have left it where it moved it to; a dead writer leaves temporary names.
      const directory = existsSync(keyset) ? keyset : `${keyset}.away`;
      const blobs = readdirSync(directory).filter((name) => name.includes('.key'));
      // One that died before it wrote has left an empty file, which every log contains.
      const keys = blobs.map((name) => readFileSync(join(directory, name))).filter((key) => key.length > 0);
      return Promise.resolve(keys);
    },
    dispose: () => Promise.resolve(),
  };
}
