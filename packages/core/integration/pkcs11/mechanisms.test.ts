// Which mechanism is chosen, and a token that makes its own IVs.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Shim } from '@teapot-kms/test-parts';
import { test } from 'uvu';
import { SecretBytes } from '../../src/secret-bytes.ts';
import { rejectsWithCode } from '../../src/testing/index.ts';
import type { Pkcs11Kek } from '../../src/providers/pkcs11/pkcs11-kek.ts';
import { shimmedToken } from './support/rig.ts';
import { newDirectory, newKek, patient } from './support/tokens.ts';

const CKM = {
  rsaKeyPairGen: 0x0,
  rsaOaep: 0x9,
  aesKeyGen: 0x1080,
  keyWrap: 0x2109,
  keyWrapPad: 0x210a,
  aesGcm: 0x1087,
};

/** The first byte of what is wrapped (`token-host/mechanism-name.ts`). */
const CODES = { 'aes-gcm': 1, 'aes-key-wrap-pad': 2, 'aes-key-wrap': 3, 'rsa-oaep-sha256': 4, 'rsa-oaep-sha1': 5 };

const token = await shimmedToken('mechanisms of a token');
if (token) register(token.shim);

function register(shim: Shim): void {
  let label = 0;
  const newStore = (mechanism = 'auto') =>
    newKek({
      token: shim,
      directory: newDirectory(),
      label: `m${String(label++)}`,
      settings: { mechanism, sessions: 1 },
    });
  test.before.each(() => shim.clear());
  test.after(() => shim.clear());

  test('a token that insists on IVs of its own gets none, and makes a new one each time', async () => {
    shim.orders('gcm-iv own');
    const kek = await newStore();
    const wraps = await Promise.all(Array.from({ length: 50 }, () => wrapNew(kek)));
    const ivs = new Set(wraps.map(({ wrapped }) => wrapped.subarray(1, 13).toString('hex')));
    assert.equal(ivs.size, 50);
    assert.ok(!ivs.has('00'.repeat(12)));
    shim.clear();
    // What such a token wrapped, one that takes our IV unwraps.
    for (const { wrapped, keyId, bytes } of wraps)
      assert.deepEqual((await unwrap(kek, keyId, wrapped)).expose(), bytes);
    await kek.close();
  });

  for (const [what, offered, chosen] of [
    ['AES-GCM, of all that SoftHSM2 has', undefined, 'aes-gcm'],
    ['AES-KEY-WRAP-PAD where there is no GCM', [CKM.aesKeyGen, CKM.keyWrap, CKM.keyWrapPad], 'aes-key-wrap-pad'],
    ['AES-KEY-WRAP where that is all', [CKM.aesKeyGen, CKM.keyWrap], 'aes-key-wrap'],
    [
      'RSA-OAEP where there is no AES, with SHA-1 as SHA-256 does not work',
      [CKM.rsaKeyPairGen, CKM.rsaOaep],
      'rsa-oaep-sha1',
    ],
  ] as const) {
    test(`chosen: ${what}`, async () => {
      if (offered) shim.orders(`mechanisms only ${offered.join(',')}`);
      const kek = await newStore();
      const { wrapped, keyId, bytes } = await wrapNew(kek);
      assert.equal(wrapped[0], CODES[chosen]);
      assert.deepEqual((await unwrap(kek, keyId, wrapped)).expose(), bytes);
      await kek.close();
    });
  }

  test('a mechanism that is set and does not work is an error that says why, and leaves no keyset', async () => {
    const kek = newStore('rsa-oaep-sha256');
    const error = await rejectsWithCode(() => kek, 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, /rsa-oaep-sha256: CKR_ARGUMENTS_BAD/);
  });

  test('a token that can make no key for us is an error that says so', async () => {
    shim.orders(`mechanisms only ${String(CKM.aesKeyGen)}`);
    const error = await rejectsWithCode(() => newStore(), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, /the token can make no key/);
  });
}

async function wrapNew(kek: Pkcs11Kek): Promise<{ wrapped: Buffer; keyId: string; bytes: Buffer }> {
  const bytes = randomBytes(32);
  const keyId = (await kek.admin.readManifest())!.manifest.primary;
  return { wrapped: await kek.wrap(keyId, new SecretBytes(Buffer.from(bytes)), patient()), keyId, bytes };
}

const unwrap = (kek: Pkcs11Kek, keyId: string, wrapped: Buffer): Promise<SecretBytes> =>
  kek.unwrap(keyId, wrapped, patient());

test.run();
