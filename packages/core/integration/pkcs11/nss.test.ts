// NSS (softokn): needs parameters for C_Initialize, and says CKA_LOCAL false of every key.
import { remoteKekSuite } from '@teapot-kms/testing';
import { NssDatabase } from '@teapot-kms/testing/daemons';
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { generateKey } from '../../src/keyset/administration.ts';
import { SharedResources } from '../../src/util/shared-resources.ts';
import { newDirectory, newKek, openKek, patient } from './support/tokens.ts';

const missing = NssDatabase.missing();
if (missing !== undefined) console.log(`SKIPPED NSS: ${missing}`);
else {
  const token = await NssDatabase.create(newDirectory());
  const shared = new SharedResources();
  const settings = { sessions: 2, libraryParameters: token.libraryParameters };
  const options = { token, directory: newDirectory(), shared, settings };
  const keeper = await newKek(options);
  test.after(() => keeper.close());

  remoteKekSuite(test, 'NSS', () => {
    const remote = openKek(options);
    const addVersion = async () => (await generateKey(remote.admin)).keyId;
    return Promise.resolve({ remote, reopen: () => Promise.resolve(openKek(options)), addVersion });
  });

  test('an attribute that the module has for every key is no hint', async () => {
    const kek = await newKek({ ...options, directory: newDirectory(), label: 'local' });
    const findings = await kek.examine(patient());
    await kek.close();
    assert.deepEqual(
      findings.filter(({ level }) => level !== 'ok'),
      [],
    );
    const about = findings.map(({ text }) => text).find((text) => text.includes('CKA_LOCAL is false'));
    assert.match(about ?? '', /The module says so of every key, also of one that it has just made$/);
    assert.deepEqual(await keeper.listKeys(patient()), await keeper.listKeys(patient()));
  });

  test('without its parameters the module cannot be used, and the remedy names the setting', async () => {
    const kek = openKek({ ...options, settings: { sessions: 1 }, shared: new SharedResources() });
    const findings = await kek.examine(patient());
    await kek.close();
    assert.match(findings[0]!.text, /CKR_ARGUMENTS_BAD in C_Initialize/);
    assert.match(findings[0]!.remedy!, /libraryParameters/);
  });
}

test.run();
