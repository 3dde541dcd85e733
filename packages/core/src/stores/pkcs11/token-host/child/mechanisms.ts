import { randomBytes } from 'node:crypto';
import { KEY_BYTES } from '../../../../envelope/limits.ts';
import { SecretBytes } from '../../../../util/secret-bytes.ts';
import type { MechanismName } from '../mechanism-name.ts';
import { wrapWithPublicKey } from '../rsa-oaep.ts';
import { OperationFailed, orDoubt } from './failures.ts';
import { bytesOf, flagOf } from './keys.ts';
import { pkcs11 } from './pkcs11.ts';
import type { Handle } from './pkcs11.ts';
import type { KeyClass, Session } from './sessions.ts';

const IV_BYTES = 12;
const TAG_BYTES = 16;
/** pkcs11t.h; the binding does not name it. */
const CKZ_DATA_SPECIFIED = 1;

/** One way to wrap a local KEK (32 bytes) under a key in the token. */
export interface Mechanism {
  readonly ckm: number;
  readonly keyClass: KeyClass;
  /** What the token's key must be allowed to do; also what a key that we make may do, and nothing else. */
  readonly usages: readonly ('CKA_ENCRYPT' | 'CKA_DECRYPT' | 'CKA_WRAP' | 'CKA_UNWRAP')[];
  wrap(session: Session, key: Handle, localKek: Buffer, keyId: string): Buffer;
  /** @throws what the module throws, and OperationFailed `refused` for a wrong length */
  unwrap(session: Session, key: Handle, blob: Buffer, keyId: string): SecretBytes;
}

const aesGcm: Mechanism = {
  ckm: pkcs11.CKM_AES_GCM,
  keyClass: 'secret',
  usages: ['CKA_ENCRYPT', 'CKA_DECRYPT'],
  wrap(session, key, localKek, keyId) {
    try {
      return gcmEncrypt(session, key, localKek, keyId, randomBytes(IV_BYTES));
    } catch (error) {
      if (!(error instanceof pkcs11.Pkcs11Error) || error.code !== pkcs11.CKR_MECHANISM_PARAM_INVALID) throw error;
      // A token that makes its own IV (FIPS 140-3 IG C.H) takes an empty one and writes to it.
      const wrapped = gcmEncrypt(session, key, localKek, keyId, Buffer.alloc(IV_BYTES));
      // With the same IV twice GCM would give its keys away.
      if (!wrapped.subarray(0, IV_BYTES).equals(Buffer.alloc(IV_BYTES))) return wrapped;
      throw new OperationFailed('unusable', 'the token takes no IV and makes none');
    }
  },
  unwrap(session, key, blob, keyId) {
    checkLength(blob, IV_BYTES + KEY_BYTES + TAG_BYTES);
    const { module, handle } = session;
    return orDoubt(() => {
      module.C_DecryptInit(handle, gcm(blob.subarray(0, IV_BYTES), keyId), key);
      return new SecretBytes(module.C_Decrypt(handle, blob.subarray(IV_BYTES), Buffer.alloc(KEY_BYTES + TAG_BYTES)));
    });
  },
};

function gcmEncrypt({ module, handle }: Session, key: Handle, localKek: Buffer, keyId: string, iv: Buffer): Buffer {
  module.C_EncryptInit(handle, gcm(iv, keyId), key);
  const sealed = module.C_Encrypt(handle, localKek, Buffer.alloc(KEY_BYTES + TAG_BYTES));
  return Buffer.concat([iv, sealed]);
}

const gcm = (iv: Buffer, keyId: string) => ({
  mechanism: pkcs11.CKM_AES_GCM,
  parameter: {
    type: pkcs11.CK_PARAMS_GCM,
    iv,
    ivBits: 8 * IV_BYTES,
    aad: Buffer.from(`teapot-kms local KEK ${keyId}`),
    tagBits: 8 * TAG_BYTES,
  },
});

/** RFC 3394 and RFC 5649; both make 40 bytes of 32. The local KEK is a session object for the moment that it takes. */
function aesKeyWrap(ckm: number): Mechanism {
  return {
    ckm,
    keyClass: 'secret',
    usages: ['CKA_WRAP', 'CKA_UNWRAP'],
    wrap({ module, handle }, key, localKek) {
      const object = module.C_CreateObject(handle, [
        ...localKekTemplate(),
        { type: pkcs11.CKA_VALUE, value: localKek },
      ]);
      try {
        return Buffer.from(module.C_WrapKey(handle, { mechanism: ckm }, key, object, Buffer.alloc(KEY_BYTES + 16)));
      } finally {
        module.C_DestroyObject(handle, object);
      }
    },
    unwrap(session, key, blob) {
      checkLength(blob, KEY_BYTES + 8);
      const { module, handle } = session;
      const object = orDoubt(() => module.C_UnwrapKey(handle, { mechanism: ckm }, key, blob, localKekTemplate()));
      try {
        return new SecretBytes(bytesOf(session, object, pkcs11.CKA_VALUE));
      } finally {
        module.C_DestroyObject(handle, object);
      }
    },
  };
}

const localKekTemplate = () => [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_SENSITIVE, value: false },
  { type: pkcs11.CKA_EXTRACTABLE, value: true },
];

function rsaOaep(hash: 'sha256' | 'sha1'): Mechanism {
  const [hashAlg, mgf] =
    hash === 'sha256' ? [pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256] : [pkcs11.CKM_SHA_1, pkcs11.CKG_MGF1_SHA1];
  const parameter = { type: pkcs11.CK_PARAMS_RSA_OAEP, hashAlg, mgf, source: CKZ_DATA_SPECIFIED };
  return {
    ckm: pkcs11.CKM_RSA_PKCS_OAEP,
    keyClass: 'private',
    usages: ['CKA_DECRYPT'],
    wrap: (session, key, localKek) => wrapWithPublicKey(publicKeyOf(session, key), hash, localKek),
    unwrap(session, key, blob) {
      const size = sizeOf(session, key);
      checkLength(blob, size);
      const { module, handle } = session;
      // Exactly the modulus' size: a token may fail for any other, with the operation left active.
      const out = Buffer.alloc(size);
      const decrypted = orDoubt(() => {
        module.C_DecryptInit(handle, { mechanism: pkcs11.CKM_RSA_PKCS_OAEP, parameter }, key);
        return module.C_Decrypt(handle, blob, out);
      });
      // Not out of Node's pool of small buffers, which is cloned as a whole with a message to another thread.
      const secret = new SecretBytes(Buffer.alloc(decrypted.length));
      decrypted.copy(secret.expose());
      out.fill(0);
      return secret;
    },
  };
}

/** Asked once for each handle, as the key's class is. */
function sizeOf(session: Session, key: Handle): number {
  const size = session.sizes.get(key) ?? stripLeadingZeros(bytesOf(session, key, pkcs11.CKA_MODULUS)).length;
  session.sizes.set(key, size);
  return size;
}

export function publicKeyOf(session: Session, key: Handle): { modulus: Buffer; exponent: Buffer } {
  const read = (attribute: number) => stripLeadingZeros(bytesOf(session, key, attribute));
  return { modulus: read(pkcs11.CKA_MODULUS), exponent: read(pkcs11.CKA_PUBLIC_EXPONENT) };
}

function stripLeadingZeros(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  return first > 0 ? bytes.subarray(first) : bytes;
}

function checkLength(blob: Buffer, length: number): void {
  if (blob.length !== length) throw new OperationFailed('refused', `${blob.length} bytes where ${length} are due`);
}

export const mechanisms: Readonly<Record<MechanismName, Mechanism>> = {
  'aes-gcm': aesGcm,
  'aes-key-wrap-pad': aesKeyWrap(pkcs11.CKM_AES_KEY_WRAP_PAD),
  'aes-key-wrap': aesKeyWrap(pkcs11.CKM_AES_KEY_WRAP),
  'rsa-oaep-sha256': rsaOaep('sha256'),
  'rsa-oaep-sha1': rsaOaep('sha1'),
};

/** Why a key cannot be used with a mechanism, as far as the token says so; `undefined` where it may be tried. */
export function obstacle(session: Session, key: Handle, keyClass: KeyClass, mechanism: Mechanism): string | undefined {
  if (keyClass !== mechanism.keyClass) return `it is a ${keyClass} key`;
  if (!session.module.C_GetMechanismList(session.slot).includes(mechanism.ckm)) return 'the token does not have it';
  const missing = mechanism.usages.find((usage) => flagOf(session, key, pkcs11[usage]) === false);
  return missing && `${missing} is false`;
}

/** Wraps a random key and unwraps it. @throws what the module throws, and OperationFailed when something else came back */
export function selfTest(session: Session, key: Handle, keyId: string, mechanism: Mechanism): void {
  const localKek = randomBytes(KEY_BYTES);
  const unwrapped = mechanism.unwrap(session, key, mechanism.wrap(session, key, localKek, keyId), keyId);
  const same = unwrapped.expose().equals(localKek);
  unwrapped.wipe();
  localKek.fill(0);
  if (!same) throw new OperationFailed('unusable', 'the token does not give back what it wrapped');
}
