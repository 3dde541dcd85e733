// A key that was made outside the token and put into it has a copy in escrow, which brings it back into another token.
import { Shim, SoftHsm, Tpm } from '@teapot-kms/testing/daemons';
import { rejectsWithCode } from '@teapot-kms/testing';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keyset/administration.ts';
import { exportKeyset, importKeyset } from '../../src/keyset/backup.ts';
import type { KeysetBackup } from '../../src/keyset/keyset-source.ts';
import { LocalKekService } from '../../src/service/local-kek/local-kek-service.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { CKR } from './support/rig.ts';
import type { KekOptions } from './support/tokens.ts';
import { newDirectory, newKek, openKek, patient, use } from './support/tokens.ts';

const plaintext = Buffer.from('kept');

/** Keeps a copy of what it is given, since that is wiped. */
function safe(): { escrow: (backup: KeysetBackup) => Promise<void>; copy: () => KeysetBackup } {
  let kept: KeysetBackup | undefined;
  return {
    escrow({ manifest, keys }) {
      const copies = [...keys].map(([id, key]) => [id, new SecretBytes(Buffer.from(key.expose()))] as const);
      kept = { manifest, keys: new Map(copies) };
      return Promise.resolve();
    },
    copy: () => kept!,
  };
}

async function service<T>(options: KekOptions, run: (service: LocalKekService) => Promise<T>): Promise<T> {
  const running = new LocalKekService({ remote: openKek(options) });
  running.start();
  try {
    return await run(running);
  } finally {
    await running.close();
  }
}

const missing = SoftHsm.missing() ?? Shim.missing();
if (missing !== undefined) console.log(`SKIPPED keys in escrow on SoftHSM2: ${missing}`);
else {
  const token = await SoftHsm.create(newDirectory());
  use(token);

  test('a key in escrow is sensitive and not extractable, and doctor knows why it was not made in the token', async () => {
    const kek = openKek({ token, directory: newDirectory(), label: 'escrowed' });
    await generateKey(kek.admin, { escrow: safe().escrow });
    const [key] = (await token.keys()).filter(({ label }) => label === 'escrowed');
    assert.equal([key!.sensitive, key!.extractable], [true, false]);
    const findings = await kek.examine(patient());
    assert.equal(
      findings.filter(({ level }) => level !== 'ok'),
      [],
    );
    assert.ok(findings.some(({ text }) => /a copy was written for escrow/.test(text)));
    await kek.close();
  });

  test('the copy brings the key back into another token, and what it wrapped opens', async () => {
    const { escrow, copy } = safe();
    const options = { token, directory: newDirectory(), label: 'lost' };
    const kek = openKek(options);
    const { keyId } = await generateKey(kek.admin, { escrow });
    const sealed = await service(options, async (running) => running.encrypt(plaintext, patient()));
    await kek.destroy(keyId);
    await kek.close();
    const other = { ...options, directory: newDirectory() };
    const anew = openKek(other);
    assert.equal((await importKeyset(anew.admin, copy())).restored, [keyId]);
    assert.equal((await importKeyset(anew.admin, copy())).restored, [], 'it is there now');
    await anew.close();
    const manifestIn = (directory: string) => readFileSync(join(directory, 'keyset/keyset.yaml'), 'utf8');
    assert.is(manifestIn(other.directory), manifestIn(options.directory));
    await service(other, async (running) => {
      assert.equal(await running.decrypt(sealed, patient()), plaintext);
      assert.equal(running.describe().warnings, []);
    });
  });

  test('keys of a token are not exported, and the error says what to do', async () => {
    const kek = await newKek({ token, directory: newDirectory(), label: 'stays' });
    const { remedy } = await rejectsWithCode(() => exportKeyset(kek.admin), 'ERR_KMS_KEYSET_RULE');
    assert.match(remedy!, /vendor.*--escrow-to/);
    await kek.close();
  });

  for (const how of ['imported', 'made'] as const) {
    test(`a new key, ${how}, that cannot wrap is destroyed again, and the error says so`, async () => {
      const shim = Shim.over(token);
      use(shim);
      const kek = openKek({ token: shim, directory: newDirectory(), label: `useless-${how}` });
      shim.orders(`fail C_EncryptInit ${CKR.keyFunctionNotPermitted}`);
      const failing = () => generateKey(kek.admin, how === 'imported' ? { escrow: safe().escrow } : {});
      const { message } = await rejectsWithCode(failing, 'ERR_KMS_KEY_GONE');
      assert.match(message, /\. The new key \S+ was destroyed again$/);
      shim.clear();
      assert.equal(await kek.listKeys(patient()), []);
      assert.is(await kek.admin.readManifest(), undefined);
      await kek.close();
      use(token);
    });
  }

  test('a copy that cannot be written leaves no key in the token', async () => {
    const kek = openKek({ token, directory: newDirectory(), label: 'unwritten' });
    const failing = generateKey(kek.admin, { escrow: () => Promise.reject(new Error('no space')) });
    assert.is(
      await failing.then(
        () => '',
        (error: unknown) => (error as Error).message,
      ),
      'no space',
    );
    assert.equal(await kek.listKeys(patient()), []);
    await kek.close();
  });
}

const noTpm = Tpm.missing();
if (noTpm !== undefined) console.log(`SKIPPED keys in escrow on a TPM: ${noTpm}`);
else {
  test('a token that takes no key in the clear says so, and no key is made', async () => {
    const token = await Tpm.start(newDirectory());
    use(token);
    const kek = openKek({ token, directory: newDirectory(), settings: { sessions: 1, callTimeout: '10s' } });
    const failing = () => generateKey(kek.admin, { escrow: safe().escrow });
    const { message } = await rejectsWithCode(failing, 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(message, /takes no key in the clear|can use no AES key/);
    assert.is(await kek.admin.readManifest(), undefined);
    await kek.close();
    await token.stop();
  });
}

test.run();
