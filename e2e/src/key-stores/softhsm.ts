import { Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import type { KeyStore, KeyStoreFixture } from '../key-store-fixture.ts';
import { tokenFixture } from './token.ts';

/** An AES key in SoftHSM2, whose token can be pulled out. */
export const softHsmKeyStore: KeyStore = {
  name: 'softhsm',
  maxOverheadBytes: 256,
  missing: () => SoftHsm.missing() ?? Shim.missing(),
  open,
};

async function open(directory: string): Promise<KeyStoreFixture> {
  const shim = Shim.over(await SoftHsm.create(directory));
  return tokenFixture(shim, {
    takeAway() {
      shim.orders('token absent');
      return Promise.resolve(() => {
        shim.clear();
        return Promise.resolve();
      });
    },
    dispose: () => Promise.resolve(),
  });
}
