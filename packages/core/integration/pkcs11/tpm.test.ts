import { Tpm } from '@teapot-kms/testing/daemons';
import { remoteKekSuite } from '@teapot-kms/testing';
import { test } from 'uvu';
import { generateKey } from '../../src/keyset/administration.ts';
import { SharedResources } from '../../src/util/shared-resources.ts';
import { newDirectory, newKek, openKek, use } from './support/tokens.ts';

const missing = Tpm.missing();
if (missing !== undefined) console.log(`SKIPPED the RemoteKek suite on a TPM: ${missing}`);
else {
  const token = await Tpm.start(newDirectory());
  test.after(() => token.stop());
  use(token);
  const shared = new SharedResources();
  const settings = { sessions: 2, callTimeout: '10s' };
  // A TPM takes about ten new keys from a process, and a process about 27 keys: one keyset is enough for the suite.
  const options = { token, directory: newDirectory(), shared, settings };
  const keeper = await newKek(options);
  test.after(() => keeper.close());
  remoteKekSuite(test, 'TPM', () => {
    const remote = openKek(options);
    const addVersion = async () => (await generateKey(remote.admin)).keyId;
    return Promise.resolve({ remote, reopen: () => Promise.resolve(openKek(options)), addVersion });
  });
}

test.run();
