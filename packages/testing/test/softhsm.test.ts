/** SoftHsm itself, and those of the facts in pkcs11/README.md that code relies on. */
import { createCipheriv, randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import pkcs11js from 'pkcs11js';
import type { Handle } from 'pkcs11js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { listObjects, SoftHsm } from '../src/daemons/index.ts';
import { ckr, find, inSession, load, newDirectory, openSession } from './support/session.ts';

const hsm = await SoftHsm.create(newDirectory());
const second = await hsm.initSecondToken({ label: 'second' });
const loaded = load(hsm);
const { p11 } = loaded;
const login = openSession(loaded);

const gcm = (iv: Buffer) => ({
  mechanism: pkcs11js.CKM_AES_GCM,
  parameter: { type: pkcs11js.CK_PARAMS_AES_GCM_v240, iv, ivBits: 96, tagBits: 128 },
});

/** A key in the token, with something that it has encrypted. */
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

test('a wrong PIN is CKR_PIN_INCORRECT, however often', () => {
  for (let i = 0; i < 12; i++) {
    assert.is(
      ckr(() => p11.C_Login(login, pkcs11js.CKU_USER, `wrong${i}`)),
      pkcs11js.CKR_PIN_INCORRECT,
    );
  }
  assert.is(
    ckr(() => p11.C_Login(login, pkcs11js.CKU_USER, hsm.pin)),
    pkcs11js.CKR_OK,
  );
  assert.is(
    ckr(() => p11.C_Login(login, pkcs11js.CKU_USER, 'wrong')),
    pkcs11js.CKR_USER_ALREADY_LOGGED_IN,
  );
});

test('the PIN is in a file for its owner only', () => {
  assert.is(readFileSync(hsm.pinFile, 'utf8'), hsm.pin);
  assert.is(statSync(hsm.pinFile).mode & 0o777, 0o600);
});

test('keys lists the objects of its own token', async () => {
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

test('an imported key is the one that was given', async () => {
  const value = randomBytes(32);
  await hsm.importAesKey({ id: 'aa', label: 'known', value });
  const ecb = inSession(loaded, (session) => {
    p11.C_EncryptInit(session, { mechanism: pkcs11js.CKM_AES_ECB }, keyOf('aa')!);
    return p11.C_Encrypt(session, Buffer.alloc(16), Buffer.alloc(16));
  });
  assert.equal(ecb, createCipheriv('aes-256-ecb', value, null).update(Buffer.alloc(16)));
});

test('a handle of an object that another process has destroyed is invalid', async () => {
  const { id, key, iv, ciphertext } = await encrypted();
  assert.is(await hsm.deleteObject(id), 1);
  inSession(loaded, (session) => {
    assert.is(
      ckr(() => decrypt(session, key, iv, ciphertext)),
      pkcs11js.CKR_OBJECT_HANDLE_INVALID,
    );
  });
  assert.is(keyOf(id), undefined);
  assert.is(await hsm.deleteObject(id), 0);
});

test('a changed GCM ciphertext is CKR_GENERAL_ERROR and does not strand the session', async () => {
  const { key, iv, ciphertext } = await encrypted();
  inSession(loaded, (session) => {
    for (const changed of [ciphertext.subarray(0, 47), ciphertext.subarray(0, 5), Buffer.alloc(48)]) {
      assert.is(
        ckr(() => decrypt(session, key, iv, changed)),
        pkcs11js.CKR_GENERAL_ERROR,
      );
    }
    assert.is(decrypt(session, key, iv, ciphertext).length, 32);
  });
});

test('an output buffer that cannot hold the ciphertext strands the session', async () => {
  const { key, iv, ciphertext } = await encrypted();
  inSession(loaded, (session) => {
    assert.is(
      ckr(() => decrypt(session, key, iv, ciphertext, 47)),
      pkcs11js.CKR_BUFFER_TOO_SMALL,
    );
    assert.is(
      ckr(() => decrypt(session, key, iv, ciphertext)),
      pkcs11js.CKR_OPERATION_ACTIVE,
    );
    assert.is(
      ckr(() => find(loaded, session, [])),
      pkcs11js.CKR_OPERATION_ACTIVE,
    );
  });
});

test('an empty output buffer asks for the length: success with an empty plaintext', async () => {
  const { key, iv, ciphertext } = await encrypted();
  inSession(loaded, (session) => assert.is(decrypt(session, key, iv, ciphertext, 0).length, 0));
});

test('a changed AES-KEY-WRAP blob is CKR_GENERAL_ERROR, one of an impossible length CKR_WRAPPED_KEY_LEN_RANGE', async () => {
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

// Ends the login.
test('objects have new handles after a new login', async () => {
  const { id, key } = await encrypted();
  p11.C_Logout(login);
  p11.C_Login(login, pkcs11js.CKU_USER, hsm.pin);
  assert.is(
    ckr(() => p11.C_GetAttributeValue(login, key, [{ type: pkcs11js.CKA_ID }])),
    pkcs11js.CKR_OBJECT_HANDLE_INVALID,
  );
  assert.not.equal(keyOf(id), key);
});

test('a store that is not there is an error', async () => {
  const { module, label, pin, pinFile, directory } = hsm;
  const child = { module, label, pin, pinFile, directory, env: { SOFTHSM2_CONF: join(newDirectory(), 'nowhere') } };
  const outcome = await listObjects(child).catch((error: unknown) => error);
  assert.instance(outcome, Error);
  assert.not.match((outcome as Error).message, hsm.pin);
});

test.run();
