/** Tests Tpm and the facts in pkcs11/README.md that our code relies on. */
import { constants, createPublicKey, generateKeyPairSync, publicEncrypt, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pkcs11js from 'pkcs11js';
import type { Handle, KeyPair } from 'pkcs11js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { listObjects, Tpm } from '../src/daemons/index.ts';
import { say } from '../src/index.ts';
import type { Token } from '../src/daemons/index.ts';
import { assertReturns, ckr, find, inSession, load, newDirectory, openSession } from './support/session.ts';

const lacking = Tpm.missing();
if (lacking !== undefined) {
  say(`SKIPPED tests with a TPM: ${lacking}`);
  process.exit(0);
}

/** CKZ_DATA_SPECIFIED. pkcs11js lacks it. */
const DATA_SPECIFIED = 1;

const directory = newDirectory();
const tpm = await Tpm.start(directory);
const loaded = load(tpm);
const { p11 } = loaded;
p11.C_Login(openSession(loaded), pkcs11js.CKU_USER, tpm.pin);

/** Generates a key pair as the key store does: it can only decrypt. */
function generate(id: Buffer): KeyPair {
  const both = [
    { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_RSA },
    { type: pkcs11js.CKA_TOKEN, value: true },
    { type: pkcs11js.CKA_ID, value: id },
    { type: pkcs11js.CKA_LABEL, value: 'kek' },
  ];
  const publicTemplate = [
    ...both,
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PUBLIC_KEY },
    { type: pkcs11js.CKA_PRIVATE, value: false },
    { type: pkcs11js.CKA_MODULUS_BITS, value: 2048 },
    { type: pkcs11js.CKA_PUBLIC_EXPONENT, value: Buffer.from([1, 0, 1]) },
  ];
  const privateTemplate = [
    ...both,
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_PRIVATE, value: true },
    { type: pkcs11js.CKA_SENSITIVE, value: true },
    { type: pkcs11js.CKA_EXTRACTABLE, value: false },
    { type: pkcs11js.CKA_DECRYPT, value: true },
    { type: pkcs11js.CKA_SIGN, value: false },
    { type: pkcs11js.CKA_UNWRAP, value: false },
  ];
  const mechanism = { mechanism: pkcs11js.CKM_RSA_PKCS_KEY_PAIR_GEN };
  return inSession(loaded, (session) => p11.C_GenerateKeyPair(session, mechanism, publicTemplate, privateTemplate));
}

function publicKeyOf({ publicKey }: KeyPair): KeyObject {
  const types = [{ type: pkcs11js.CKA_MODULUS }, { type: pkcs11js.CKA_PUBLIC_EXPONENT }];
  const [n = '', e = ''] = inSession(loaded, (session) => p11.C_GetAttributeValue(session, publicKey, types)).map(
    ({ value }) => value.toString('base64url'),
  );
  return createPublicKey({ format: 'jwk', key: { kty: 'RSA', n, e } });
}

const wrap = (key: KeyObject, hash: 'sha1' | 'sha256', bytes: Buffer): Buffer =>
  publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: hash }, bytes);

function unwrap(session: Handle, privateKey: Handle, hash: 'sha1' | 'sha256', wrapped: Buffer): Buffer {
  const [hashAlg, mgf] =
    hash === 'sha1' ? [pkcs11js.CKM_SHA_1, pkcs11js.CKG_MGF1_SHA1] : [pkcs11js.CKM_SHA256, pkcs11js.CKG_MGF1_SHA256];
  const parameter = { type: pkcs11js.CK_PARAMS_RSA_OAEP, hashAlg, mgf, source: DATA_SPECIFIED };
  p11.C_DecryptInit(session, { mechanism: pkcs11js.CKM_RSA_PKCS_OAEP, parameter }, privateKey);
  return p11.C_Decrypt(session, wrapped, Buffer.alloc(256));
}

const pair = generate(Buffer.from('0102', 'hex'));
const publicKey = publicKeyOf(pair);

test('a new token has no key, and a generated key is sensitive and not extractable', async () => {
  const keys = await tpm.keys();
  assert.equal(
    keys
      .filter(({ id }) => id === '0102')
      .map((key) => key.class)
      .sort(),
    ['private', 'public'],
  );
  assert.equal(
    keys.find((key) => key.class === 'private'),
    {
      class: 'private',
      id: '0102',
      label: 'kek',
      sensitive: true,
      extractable: false,
    },
  );
  assert.is(keys.length, 2);
});

for (const hash of ['sha1', 'sha256'] as const) {
  test(`OAEP with ${hash}: the TPM unwraps a key that OpenSSL wrapped`, () => {
    const bytes = randomBytes(32);
    const wrapped = wrap(publicKey, hash, bytes);
    assert.equal(
      inSession(loaded, (session) => unwrap(session, pair.privateKey, hash, wrapped)),
      bytes,
    );
  });

  test(`OAEP with ${hash}: a changed blob returns CKR_GENERAL_ERROR and leaves the operation of that session active`, () => {
    const wrapped = wrap(publicKey, hash, randomBytes(32));
    const changed = Buffer.from(wrapped);
    changed[100]! ^= 1;
    inSession(loaded, (session) => {
      assertReturns(pkcs11js.CKR_GENERAL_ERROR, () => unwrap(session, pair.privateKey, hash, changed));
      assertReturns(pkcs11js.CKR_OPERATION_ACTIVE, () => unwrap(session, pair.privateKey, hash, wrapped));
      assertReturns(pkcs11js.CKR_OPERATION_ACTIVE, () => find(loaded, session, []));
      assert.is(inSession(loaded, (other) => unwrap(other, pair.privateKey, hash, wrapped)).length, 32);
    });
  });
}

test('a blob of a wrong length returns CKR_GENERAL_ERROR, an empty one CKR_ARGUMENTS_BAD', () => {
  for (const length of [255, 257]) {
    const code = inSession(loaded, (session) =>
      ckr(() => unwrap(session, pair.privateKey, 'sha256', randomBytes(length))),
    );
    assert.is(code, pkcs11js.CKR_GENERAL_ERROR);
  }
  const empty = inSession(loaded, (session) => ckr(() => unwrap(session, pair.privateKey, 'sha256', Buffer.alloc(0))));
  assert.is(empty, pkcs11js.CKR_ARGUMENTS_BAD);
});

test('the CKA_ID of an imported key is its id as text', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const another = await Tpm.start(newDirectory(), { label: 'another' });
  await another.importRsaKey({ id: 'ceremony-2026', label: 'shared', privateKey });
  const id = Buffer.from('ceremony-2026').toString('hex');
  assert.equal((await another.keys()).map((key) => [key.class, key.id, key.label]).sort(), [
    ['private', id, 'shared'],
    ['public', id, 'shared'],
  ]);
  await another.stop();
});

test('a process can still use a key that another process has destroyed', async () => {
  const mine = generate(Buffer.from('0304', 'hex'));
  const wrapped = wrap(publicKeyOf(mine), 'sha256', randomBytes(32));
  assert.is(await tpm.deleteObject('0304'), 2);
  assert.is(inSession(loaded, (session) => unwrap(session, mine.privateKey, 'sha256', wrapped)).length, 32);
});

test('a lost TPM returns CKR_GENERAL_ERROR in a process that used it, even when the TPM is back', async () => {
  const wrapped = wrap(publicKey, 'sha256', randomBytes(32));
  const attempt = () => inSession(loaded, (session) => ckr(() => unwrap(session, pair.privateKey, 'sha256', wrapped)));
  await tpm.lose();
  assert.is(attempt(), pkcs11js.CKR_GENERAL_ERROR);
  await tpm.restart();
  assert.is(attempt(), pkcs11js.CKR_GENERAL_ERROR);
});

test('a new process finds the keys after a restart', async () => {
  await tpm.restart();
  assert.is((await tpm.keys()).filter(({ id }) => id === '0102').length, 2);
});

test('restarts do not lock the TPM', async () => {
  for (let i = 0; i < 4; i++) {
    await tpm.restart();
    assert.is((await tpm.keys()).length, 2);
  }
});

test('three wrong PINs lock the TPM, for the right PIN too, until an administrator unlocks it', async () => {
  const locked = await Tpm.start(newDirectory());
  const { env, module, label, pinFile } = locked;
  const wrongPin = { env, module, label, pinFile, directory, pin: 'wrong' };
  const outcome = async (token: Token) =>
    /CKR_\w+/.exec(await listObjects(token).then(JSON.stringify, (error: unknown) => (error as Error).message))?.[0];
  for (let i = 0; i < 3; i++) assert.is(await outcome(wrongPin), 'CKR_PIN_INCORRECT');
  assert.is(await outcome(locked), 'CKR_PIN_LOCKED');
  await locked.clearLockout();
  assert.is(await outcome(locked), undefined);
  await locked.stop();
});

test('stop ends all processes', async () => {
  const running = () =>
    readdirSync('/proc').filter((pid) => {
      try {
        return (
          /^\d+$/.test(pid) &&
          readFileSync(join('/proc', pid, 'environ'), 'utf8').includes(`unix:path=${directory}/bus`) &&
          pid !== String(process.pid)
        );
      } catch {
        return false;
      }
    });
  assert.is(running().length, 3);
  await tpm.stop();
  assert.equal(running(), []);
});

test.run();
