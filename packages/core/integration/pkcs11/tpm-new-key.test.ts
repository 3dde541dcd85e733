// tpm2-pkcs11 sees what was in its store when its process began: `teapot-kms keys generate` is another process.
import { Tpm } from '@teapot-kms/testing/daemons';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey, promoteKey } from '../../src/keyset/administration.ts';
import { newDirectory, newKek, openKek, patient, use } from './support/tokens.ts';

const missing = Tpm.missing();
if (missing !== undefined) console.log(`SKIPPED keys that another process makes in a TPM: ${missing}`);
else {
  test('a key that another process has made is found, by a new process of the module', async () => {
    const token = await Tpm.start(newDirectory());
    use(token);
    const options = { token, directory: newDirectory(), settings: { sessions: 1, callTimeout: '5s' } };
    const kek = await newKek(options);
    const { primary: first } = await kek.describe(patient());
    const command = openKek(options);
    const { keyId } = await generateKey(command.admin);
    await command.close();
    const { keys, damaged } = await kek.describe(patient());
    assert.equal(
      keys.map(({ id, state }) => [id, state]),
      [
        [first, 'promoted'],
        [keyId, 'pending'],
      ],
    );
    assert.is(damaged, undefined);
    await promoteKey(kek.admin, keyId);
    assert.is((await kek.describe(patient())).primary, keyId);
    assert.is(kek.counters()['token_host_starts'], 2, 'one new process was enough');
    await kek.close();
    await token.stop();
  });
}

test.run();
