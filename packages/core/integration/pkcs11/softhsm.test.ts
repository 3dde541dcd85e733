import { SoftHsm } from '@teapot-kms/testing/daemons';
import { remoteKekSuite } from '@teapot-kms/testing';
import { test } from 'uvu';
import { generateKey } from '../../src/keyset/administration.ts';
import { SharedResources } from '../../src/util/shared-resources.ts';
import { newDirectory, newKek, openKek, use } from './support/tokens.ts';

const missing = SoftHsm.missing();
if (missing !== undefined) console.log(`SKIPPED the RemoteKek suite on SoftHSM2: ${missing}`);
else {
  const token = await SoftHsm.create(newDirectory());
  use(token);
  // One token host for all: what the suite must not notice.
  const shared = new SharedResources();
  const keeper = await newKek({ token, directory: newDirectory(), shared, label: 'keeper', settings: { sessions: 2 } });
  test.after(() => keeper.close());
  for (const mechanism of ['auto', 'aes-key-wrap-pad', 'aes-key-wrap', 'rsa-oaep-sha1'] as const) {
    let label = 0;
    remoteKekSuite(test, `SoftHSM2, ${mechanism}`, async () => {
      const options = {
        token,
        directory: newDirectory(),
        shared,
        label: `${mechanism} ${label++}`.replaceAll(' ', '-'),
        settings: { mechanism, sessions: 2 },
      };
      const remote = await newKek(options);
      return {
        remote,
        reopen: () => Promise.resolve(openKek(options)),
        addVersion: async () => (await generateKey(remote.admin)).keyId,
      };
    });
  }
}

test.run();
