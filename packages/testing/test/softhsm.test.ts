/** Tests SoftHsm and the facts in pkcs11/README.md that our code relies on. */
import { createCipheriv, randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import pkcs11js from 'pkcs11js';
import type { Handle } from 'pkcs11js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { listObjects, SoftHsm } from '../src/daemons/index.ts';
import { assertReturns, ckr, find, inSession, load, newDirectory, openSession } from './support/session.ts';

const hsm = await SoftHsm.create(newDirectory());
const second = await hsm.initSecondToken({ label: 'second' });
const loaded = load(hsm);
const { p11 } = loaded;
const login = openSession(loaded);

const gcm = (iv: Buffer) => ({
  mechanism: pkcs11js.CKM_AES_GCM,
  parameter: { type: pkcs11js.CK_PARAMS_AES_GCM_v240, iv, ivBits: 96, tagBits: 128 },
});

/** Creates a key in the token and encrypts a plaintext with it. */
async function encrypted(): Promise<{ id: string; key: Handle; iv: Buffer; ciphertext: Buffer }> {
  const id = randomBytes(8).toString('hex');
  await hsm.importAesKey({ id, label: 'kek', value: randomBytes(32) });
  const key = keyOf(id)!;
  const iv = randomBytes(12);
  const ciphertext = inSession(loaded, (session) => {
    p11.C_EncryptInit(session, gcm(iv), key);
    return p11.C_Encrypt(session, randomBytes(32), Buffer.alloc(48));
  });
  return { id, key, iv, ciphertext };
}

const keyOf = (id: string): Handle | undefined =>
  inSession(loaded, (session) => find(loaded, session, [{ type: pkcs11js.CKA_ID, value: Buffer.from(id, 'hex') }])[0]);

function decrypt(session: Handle, key: Handle, iv: Buffer, ciphertext: Buffer, room = 64): Buffer {
  p11.C_DecryptInit(session, gcm(iv), key);
  return p11.C_Decrypt(session, ciphertext, Buffer.alloc(room));
}

test('a wrong PIN returns CKR_PIN_INCORRECT and never locks the token', () => {
  for (let i = 0; i < 12; i++) {
    assertReturns(pkcs11js.CKR_PIN_INCORRECT, () => p11.C_Login(login, pkcs11js.CKU_USER, `wrong${i}`));
  }
  assertReturns(pkcs11js.CKR_OK, () => p11.C_Login(login, pkcs11js.CKU_USER, hsm.pin));
  assertReturns(pkcs11js.CKR_USER_ALREADY_LOGGED_IN, () => p11.C_Login(login, pkcs11js.CKU_USER, 'wrong'));
});

test('only the owner can read the PIN file', () => {
  assert.is(readFileSync(hsm.pinFile, 'utf8'), hsm.pin);
  assert.is(statSync(hsm.pinFile).mode & 0o777, 0o600);
});

test('keys lists the objects of its own token only', async () => {
  await second.importAesKey({ id: '0a', label: 'closed', value: randomBytes(32) });
  await second.importAesKey({ id: '0b', label: 'open', value: randomBytes(16), extractable: true });
  const keys = await second.keys();
  assert.equal(
    keys.sort((a, b) => a.id.localeCompare(b.id)),
    [
      { class: 'secret', id: '0a', label: 'closed', sensitive: true, extractable: false },
      { class: 'secret', id: '0b', label: 'open', sensitive: false, extractable: true },
    ],
  );
  assert.is(keyOf('0a'), undefined);
});

test('importAesKey imports the given value', async () => {
  const value = randomBytes(32);
  await hsm.importAesKey({ id: 'aa', label: 'known', value });
  const ecb = inSession(loaded, (session) => {
    p11.C_EncryptInit(session, { mechanism: pkcs11js.CKM_AES_ECB }, keyOf('aa')!);
    return p11.C_Encrypt(session, Buffer.alloc(16), Buffer.alloc(16));
  });
  assert.equal(ecb, createCipheriv('aes-256-ecb', value, null).update(Buffer.alloc(16)));
});

test('the handle of an object is invalid after another process destroys the object', async () => {
  const { id, key, iv, ciphertext } = await encrypted();
  assert.is(await hsm.deleteObject(id), 1);
  inSession(loaded, (session) => {
    assertReturns(pkcs11js.CKR_OBJECT_HANDLE_INVALID, () => decrypt(session, key, iv, ciphertext));
  });
  assert.is(keyOf(id), undefined);
  assert.is(await hsm.deleteObject(id), 0);
});

test('a changed GCM ciphertext returns CKR_GENERAL_ERROR and leaves no active operation', async () => {
  const { key, iv, ciphertext } = await encrypted();
  inSession(loaded, (session) => {
    for (const changed of [ciphertext.subarray(0, 47), ciphertext.subarray(0, 5), Buffer.alloc(48)]) {
      assertReturns(pkcs11js.CKR_GENERAL_ERROR, () => decrypt(session, key, iv, changed));
    }
    assert.is(decrypt(session, key, iv, ciphertext).length, 32);
  });
});

test('an output buffer that is shorter than the ciphertext leaves the operation active', async () => {
  const { key, iv, ciphertext } = await encrypted();
  inSession(loaded, (session) => {
    assertReturns(pkcs11js.CKR_BUFFER_TOO_SMALL, () => decrypt(session, key, iv, ciphertext, 47));
    assertReturns(pkcs11js.CKR_OPERATION_ACTIVE, () => decrypt(session, key, iv, ciphertext));
    assertReturns(pkcs11js.CKR_OPERATION_ACTIVE, () => find(loaded, session, []));
  });
});

test('an empty output buffer queries the length: the call succeeds with an empty plaintext', async () => {
  const { key, iv, ciphertext } = await encrypted();
  inSession(loaded, (session) => assert.is(decrypt(session, key, iv, ciphertext, 0).length, 0));
});

test('a changed AES-KEY-WRAP blob returns CKR_GENERAL_ERROR, an impossible length CKR_WRAPPED_KEY_LEN_RANGE', async () => {
  const { key } = await encrypted();
  const template = [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY },
    { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_AES },
    { type: pkcs11js.CKA_EXTRACTABLE, value: true },
  ];
  for (const mechanism of [pkcs11js.CKM_AES_KEY_WRAP, pkcs11js.CKM_AES_KEY_WRAP_PAD]) {
    inSession(loaded, (session) => {
      const value = { type: pkcs11js.CKA_VALUE, value: randomBytes(32) };
      const wrapped = p11.C_WrapKey(
        session,
        { mechanism },
        key,
        p11.C_CreateObject(session, [...template, value]),
        Buffer.alloc(64),
      );
      const unwrap = (blob: Buffer) => ckr(() => p11.C_UnwrapKey(session, { mechanism }, key, blob, template));
      assert.is(wrapped.length, 40);
      assert.is(unwrap(wrapped), pkcs11js.CKR_OK);
      assert.is(unwrap(Buffer.alloc(40)), pkcs11js.CKR_GENERAL_ERROR);
      assert.is(unwrap(wrapped.subarray(0, 32)), pkcs11js.CKR_GENERAL_ERROR);
      for (const length of [0, 8, 39]) {
        assert.is(unwrap(wrapped.subarray(0, length)), pkcs11js.CKR_WRAPPED_KEY_LEN_RANGE);
      }
    });
  }
});

// This test ends the login.
test('objects have new handles after a new login', async () => {
  const { id, key } = await encrypted();
  p11.C_Logout(login);
  p11.C_Login(login, pkcs11js.CKU_USER, hsm.pin);
  assertReturns(pkcs11js.CKR_OBJECT_HANDLE_INVALID, () =>
    p11.C_GetAttributeValue(login, key, [{ type: pkcs11js.CKA_ID }]),
  );
  assert.not.equal(keyOf(id), key);
});

test('a missing token directory is an error without the PIN', async () => {
  const { module, label, pin, pinFile, directory } = hsm;
  const child = { module, label, pin, pinFile, directory, env: { SOFTHSM2_CONF: join(newDirectory(), 'nowhere') } };
  const outcome = await listObjects(child).catch((error: unknown) => error);
  assert.instance(outcome, Error);
  assert.not.match((outcome as Error).message, hsm.pin);
});

test.run();
