import { Tpm } from '@teapot-kms/testing/daemons';
import type { KeyStore, KeyStoreFixture } from '../key-store-fixture.ts';
import { tokenFixture } from './token.ts';

/** An RSA key in a TPM 2.0. */
export const tpmKeyStore: KeyStore = { name: 'tpm', maxOverheadBytes: 560, missing: () => Tpm.missing(), open };

async function open(directory: string): Promise<KeyStoreFixture> {
  const tpm = await Tpm.start(directory);
  return tokenFixture(
    tpm,
    {
      async takeAway() {
        await tpm.stop();
        return () => tpm.restart();
      },
      dispose: () => tpm.stop(),
    },
    // It does one thing at a time, and takes its time for it.
    { sessions: 2, callTimeout: '10s' },
  );
}
