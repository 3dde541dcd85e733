// Which mechanism wraps, on tokens that offer less than SoftHSM2 does, or insist on an IV of their own.
import type { Shim } from '@teapot-kms/testing/daemons';
import { rejectsWithCode, rememberSecret } from '@teapot-kms/testing';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import type { Pkcs11Kek } from '../../src/stores/pkcs11/pkcs11-kek.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import type { MechanismName } from '../../src/stores/pkcs11/token-host/mechanism-name.ts';
import { parseWrappedForm } from '../../src/stores/pkcs11/token-host/mechanism-name.ts';
import { CKR, shimmedToken } from './support/rig.ts';
import { importedKek, newDirectory, newKek, openKek, patient } from './support/tokens.ts';
import type { KekOptions } from './support/tokens.ts';

const UNAVAILABLE = 'ERR_KMS_STORE_UNAVAILABLE';

const CKM = { rsaGen: 0x0, oaep: 0x9, aesGen: 0x1080, gcm: 0x1087, keyWrap: 0x2109, keyWrapPad: 0x210a } as const;

const only = (...names: readonly (keyof typeof CKM)[]) => `mechanisms only ${names.map((name) => CKM[name]).join(',')}`;

let labels = 0;

/** Options for a key of its own, and no orders. */
function fresh(shim: Shim, mechanism: MechanismName | 'auto' = 'auto'): KekOptions {
  shim.clear();
  return {
    token: shim,
    directory: newDirectory(),
    label: `mech${String(labels++)}`,
    settings: { sessions: 1, mechanism },
  };
}

async function using(
  making: Promise<Pkcs11Kek>,
  work: (kek: Pkcs11Kek, keyId: string) => Promise<void>,
): Promise<void> {
  const kek = await making;
  try {
    await work(kek, (await kek.describe(patient())).primary);
  } finally {
    await kek.close();
  }
}

/** Wraps a new local KEK, sees that it comes back, and returns what was made of it. */
async function roundTrip(
  kek: Pkcs11Kek,
  keyId: string,
): Promise<{ mechanism: MechanismName; blob: Buffer; wrapped: Buffer }> {
  const key = new SecretBytes(randomBytes(32));
  rememberSecret(key.expose());
  const wrapped = await kek.wrap(keyId, key, patient());
  assert.deepEqual((await kek.unwrap(keyId, wrapped, patient())).expose(), key.expose());
  return { ...parseWrappedForm(wrapped)!, wrapped };
}

const parts = await shimmedToken('mechanisms of PKCS#11 on SoftHSM2');
if (parts) {
  registerOwnIv(parts.shim);
  registerChoice(parts.shim);
  registerRefusals(parts.shim);
}

function registerOwnIv(shim: Shim): void {
  test('a token that makes the IV itself wraps with AES-GCM, each time with another IV', async () => {
    const options = fresh(shim);
    shim.orders('gcm-iv own');
    await using(newKek(options), async (kek, keyId) => {
      const ivs = new Set<string>();
      for (let i = 0; i < 50; i++) {
        const { mechanism, blob } = await roundTrip(kek, keyId);
        assert.equal(mechanism, 'aes-gcm');
        ivs.add(blob.subarray(0, 12).toString('hex'));
      }
      assert.equal(ivs.size, 50);
      assert.ok(!ivs.has('00'.repeat(12)));
    });
  });

  test('what was wrapped with an IV of ours opens on a token that makes its own, and the other way round', async () => {
    const options = fresh(shim);
    await using(newKek(options), async (kek, keyId) => {
      const { wrapped: ours } = await roundTrip(kek, keyId);
      shim.orders('gcm-iv own');
      const { wrapped: theirs } = await roundTrip(kek, keyId);
      await kek.unwrap(keyId, ours, patient());
      shim.clear();
      await kek.unwrap(keyId, theirs, patient());
    });
  });
}

function registerChoice(shim: Shim): void {
  const choices = [
    ['aes-gcm', only('aesGen', 'rsaGen', 'gcm', 'keyWrap', 'keyWrapPad', 'oaep')],
    ['aes-key-wrap-pad', only('aesGen', 'rsaGen', 'keyWrap', 'keyWrapPad', 'oaep')],
    ['aes-key-wrap', only('aesGen', 'rsaGen', 'keyWrap', 'oaep')],
    // SoftHSM2 has OAEP with SHA-1 only, and says so when it is used.
    ['rsa-oaep-sha1', only('rsaGen', 'oaep')],
  ] as const;
  for (const [expected, order] of choices) {
    test(`where the token has nothing better, a key is made for ${expected} and wraps with it`, async () => {
      const options = fresh(shim);
      shim.orders(order);
      await using(newKek(options), async (kek, keyId) => {
        assert.equal((await roundTrip(kek, keyId)).mechanism, expected);
      });
    });
  }

  test('a token that loses AES-GCM goes on with what is left, and opens the old ones when it is back', async () => {
    const options = fresh(shim);
    let old: Buffer = Buffer.alloc(0);
    await using(importedKek(options, randomBytes(32)), async (kek, keyId) => {
      const made = await roundTrip(kek, keyId);
      assert.equal(made.mechanism, 'aes-gcm');
      old = made.wrapped;
    });
    shim.orders(only('keyWrap'));
    await using(Promise.resolve(openKek(options)), async (kek, keyId) => {
      assert.equal((await roundTrip(kek, keyId)).mechanism, 'aes-key-wrap');
      shim.clear();
      await kek.unwrap(keyId, old, patient());
    });
  });

  for (const [name, ckr] of [
    ['CKR_FUNCTION_FAILED', CKR.functionFailed],
    ['CKR_GENERAL_ERROR', CKR.generalError],
  ] as const) {
    test(`one ${name} does not make it choose something worse`, async () => {
      const options = fresh(shim);
      await (await importedKek(options, randomBytes(32))).close();
      shim.orders(`fail-after C_Encrypt ${String(ckr)} 1`);
      await using(Promise.resolve(openKek(options)), async (kek, keyId) => {
        assert.equal((await roundTrip(kek, keyId)).mechanism, 'aes-gcm');
        assert.equal(shim.fired(`fail-after C_Encrypt ${String(ckr)} 1`), 1);
      });
    });
  }
}

function registerRefusals(shim: Shim): void {
  test('a mechanism that was set and that the key cannot do is refused with the reason', async () => {
    const options = fresh(shim);
    await (await newKek(options)).close();
    for (const [mechanism, reason] of [
      ['rsa-oaep-sha256', /cannot wrap \(rsa-oaep-sha256: it is a secret key\)/],
      ['aes-key-wrap', /cannot wrap \(aes-key-wrap: CKA_WRAP is false\)/],
    ] as const) {
      const kek = openKek({ ...options, settings: { sessions: 1, mechanism } });
      const error = await rejectsWithCode(() => kek.describe(patient()), UNAVAILABLE);
      assert.match(error.message, reason);
      await kek.close();
    }
  });

  test('a mechanism that was set and that the token does not have is refused with the reason', async () => {
    const options = fresh(shim, 'aes-gcm');
    await (await newKek(options)).close();
    shim.orders(only('aesGen', 'keyWrap'));
    const kek = openKek(options);
    const error = await rejectsWithCode(() => kek.describe(patient()), UNAVAILABLE);
    assert.match(error.message, /cannot wrap \(aes-gcm: the token does not have it\)/);
    await kek.close();
  });

  test('no key is made for a mechanism that the token does not have, or cannot do', async () => {
    const gcm = fresh(shim, 'aes-gcm');
    shim.orders(only('aesGen', 'keyWrap'));
    const error = await rejectsWithCode(() => newKek(gcm), UNAVAILABLE);
    assert.match(error.message, /can make no key for aes-gcm/);
    const error2 = await rejectsWithCode(() => newKek(fresh(shim, 'rsa-oaep-sha256')), UNAVAILABLE);
    assert.match(error2.message, /rsa-oaep-sha256: CKR_ARGUMENTS_BAD/);
  });
}

test.run();
