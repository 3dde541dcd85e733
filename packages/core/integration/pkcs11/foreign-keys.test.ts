// Keys that were made elsewhere, as in a key ceremony: label, CKA_ID and a manifest make them ours.
import { SoftHsm } from '@teapot-kms/testing/daemons';
import { rejectsWithCode, version1Manifest } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { newKeyId } from '../../src/envelope/key-id.ts';
import { formatManifest } from '../../src/keyset/manifest.ts';
import { newDirectory, openKek, patient, use } from './support/tokens.ts';

const missing = SoftHsm.missing();
if (missing !== undefined) console.log(`SKIPPED keys made elsewhere: ${missing}`);
else {
  const token = await SoftHsm.create(newDirectory());
  use(token);

  /** A store over an RSA key that another tool has put into the token, and a manifest by hand. */
  function foreign(modulusLength: number) {
    const directory = newDirectory();
    const keyId = newKeyId();
    const pem = join(directory, 'key.pem');
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength });
    writeFileSync(pem, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    const label = `rsa-${modulusLength}`;
    const id = Buffer.from(keyId).toString('hex');
    const command = ['--import', pem, '--token', token.label, '--label', label, '--id', id, '--pin', token.pin];
    execFileSync('softhsm2-util', command, { stdio: 'ignore' });
    mkdirSync(join(directory, 'keyset'));
    writeFileSync(join(directory, 'keyset/keyset.yaml'), formatManifest(version1Manifest(keyId)));
    return { keyId, kek: openKek({ token, directory, label, settings: { sessions: 1 } }) };
  }

  test('a key of another tool is used once a manifest names it, and doctor says that it was not made in the token', async () => {
    const { kek, keyId } = foreign(2048);
    assert.is((await kek.describe(patient())).primary, keyId);
    const texts = (await kek.examine(patient())).map(({ text }) => text);
    assert.ok(
      texts.some((text) => text.startsWith(`key ${keyId}, the primary: rsa-oaep-sha1, `)),
      texts.join('\n'),
    );
    assert.ok(
      texts.includes(`key ${keyId}: CKA_LOCAL is false: the key was not made in the token, so a copy of it may exist`),
      texts.join('\n'),
    );
    await kek.close();
  });

  for (const bits of [1024, 4096]) {
    test(`RSA with ${bits} bits is refused`, async () => {
      const { kek, keyId } = foreign(bits);
      const error = await rejectsWithCode(() => kek.describe(patient()), 'ERR_KMS_STORE_UNAVAILABLE');
      assert.is(error.message, `the token: key ${keyId} has ${bits} bits; RSA keys must have 2048 to 3072`);
      await kek.close();
    });
  }
}

test.run();
