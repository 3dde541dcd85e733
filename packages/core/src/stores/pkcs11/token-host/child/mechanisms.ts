import { randomBytes } from 'node:crypto';
import { KEY_BYTES } from '../../../../envelope/limits.ts';
import { takeNonce } from '../../../../envelope/nonces.ts';
import { SecretBytes } from '../../../../util/secret-bytes.ts';
import type { MechanismName } from '../mechanism-name.ts';
import { wrapWithPublicKey } from '../rsa-oaep.ts';
import { TokenFailure } from '../protocol.ts';
import { codeOf, unwrapping } from './failures.ts';
import { bytesOf, flagOf } from './keys.ts';
import { pkcs11 } from './pkcs11.ts';
import type { Key, Session } from './sessions.ts';

const IV_BYTES = 12;
const TAG_BYTES = 16;
/** pkcs11t.h; the binding does not name it. */
const CKZ_DATA_SPECIFIED = 1;

/** One way to wrap a local KEK (32 bytes) under a key in the token. */
export interface Mechanism {
  readonly ckm: number;
  readonly keyClass: Key['keyClass'];
  /** What the token's key must be allowed to do. A key that we make may do nothing else. */
  readonly usages: readonly ('CKA_ENCRYPT' | 'CKA_DECRYPT' | 'CKA_WRAP' | 'CKA_UNWRAP')[];
  wrap(session: Session, key: Key, localKek: Buffer, keyId: string): Buffer;
  /** @throws what the module throws, and TokenFailure `refused` for a wrong length */
  unwrap(session: Session, key: Key, blob: Buffer, keyId: string): SecretBytes;
}

const aesGcm: Mechanism = {
  ckm: pkcs11.CKM_AES_GCM,
  keyClass: 'secret',
  usages: ['CKA_ENCRYPT', 'CKA_DECRYPT'],
  wrap(session, key, localKek, keyId) {
    const iv = Buffer.alloc(IV_BYTES);
    takeNonce(iv, 0, IV_BYTES);
    try {
      return gcmEncrypt(session, key, localKek, keyId, iv);
    } catch (error) {
      if (codeOf(error) !== pkcs11.CKR_MECHANISM_PARAM_INVALID) throw error;
      // A token that makes its own IV (FIPS 140-3 IG C.H) takes an empty one and writes to it.
      const wrapped = gcmEncrypt(session, key, localKek, keyId, Buffer.alloc(IV_BYTES));
      // GCM with the same IV twice would give its keys away.
      if (!wrapped.subarray(0, IV_BYTES).equals(Buffer.alloc(IV_BYTES))) return wrapped;
      throw new TokenFailure('unusable', 'the token accepts no IV and makes none');
    }
  },
  unwrap(session, key, blob, keyId) {
    checkLength(blob, IV_BYTES + KEY_BYTES + TAG_BYTES);
    const { module, handle } = session;
    return unwrapping(() => {
      module.C_DecryptInit(handle, gcm(blob.subarray(0, IV_BYTES), keyId), key.handle);
      return new SecretBytes(module.C_Decrypt(handle, blob.subarray(IV_BYTES), Buffer.alloc(KEY_BYTES + TAG_BYTES)));
    });
  },
};

function gcmEncrypt({ module, handle }: Session, key: Key, localKek: Buffer, keyId: string, iv: Buffer): Buffer {
  module.C_EncryptInit(handle, gcm(iv, keyId), key.handle);
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

/** RFC 3394 and RFC 5649: both make 40 bytes of 32. The local KEK is a session object in the token for that moment. */
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
        const out = Buffer.alloc(KEY_BYTES + 16);
        return Buffer.from(module.C_WrapKey(handle, { mechanism: ckm }, key.handle, object, out));
      } finally {
        module.C_DestroyObject(handle, object);
      }
    },
    unwrap(session, key, blob) {
      checkLength(blob, KEY_BYTES + 8);
      const { module, handle } = session;
      const object = unwrapping(() =>
        module.C_UnwrapKey(handle, { mechanism: ckm }, key.handle, blob, localKekTemplate()),
      );
      try {
        return new SecretBytes(bytesOf(session, { handle: object }, pkcs11.CKA_VALUE));
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
      const size = (key.modulusBytes ??= publicKeyOf(session, key).modulus.length);
      checkLength(blob, size);
      const { module, handle } = session;
      // A token may fail for any other size than the modulus's, and leave the operation active.
      const out = Buffer.alloc(size);
      const decrypted = unwrapping(() => {
        module.C_DecryptInit(handle, { mechanism: pkcs11.CKM_RSA_PKCS_OAEP, parameter }, key.handle);
        return module.C_Decrypt(handle, blob, out);
      });
      const secret = new SecretBytes(Buffer.alloc(decrypted.length));
      decrypted.copy(secret.expose());
      out.fill(0);
      return secret;
    },
  };
}

export function publicKeyOf(session: Session, key: Key): { modulus: Buffer; exponent: Buffer } {
  const read = (attribute: number) => stripLeadingZeros(bytesOf(session, key, attribute));
  return { modulus: read(pkcs11.CKA_MODULUS), exponent: read(pkcs11.CKA_PUBLIC_EXPONENT) };
}

function stripLeadingZeros(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  return first > 0 ? bytes.subarray(first) : bytes;
}

function checkLength(blob: Buffer, length: number): void {
  if (blob.length !== length) throw new TokenFailure('refused', `expected ${length} bytes, found ${blob.length}`);
}

export const mechanisms: Readonly<Record<MechanismName, Mechanism>> = {
  'aes-gcm': aesGcm,
  'aes-key-wrap-pad': aesKeyWrap(pkcs11.CKM_AES_KEY_WRAP_PAD),
  'aes-key-wrap': aesKeyWrap(pkcs11.CKM_AES_KEY_WRAP),
  'rsa-oaep-sha256': rsaOaep('sha256'),
  'rsa-oaep-sha1': rsaOaep('sha1'),
};

/** Returns why a key's class, attributes or token rule out a mechanism, or `undefined` where it can be tested. */
export function unsuitable(session: Session, key: Key, mechanism: Mechanism): string | undefined {
  if (key.keyClass !== mechanism.keyClass) return `it is a ${key.keyClass} key`;
  if (!session.module.C_GetMechanismList(session.slot).includes(mechanism.ckm)) return 'the token does not have it';
  const missing = mechanism.usages.find((usage) => flagOf(session, key, pkcs11[usage]) === false);
  return missing && `${missing} is false`;
}

/** Wraps and unwraps a random key. @throws what the module throws; TokenFailure where another key comes back */
export function selfTest(session: Session, key: Key, keyId: string, mechanism: Mechanism): void {
  const localKek = randomBytes(KEY_BYTES);
  const unwrapped = mechanism.unwrap(session, key, mechanism.wrap(session, key, localKek, keyId), keyId);
  const same = unwrapped.expose().equals(localKek);
  unwrapped.wipe();
  localKek.fill(0);
  if (!same) throw new TokenFailure('unusable', 'the token does not give back what it wrapped');
}
