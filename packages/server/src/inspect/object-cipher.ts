import { KmsError } from '@teapot-kms/core';
import { createDecipheriv, createHmac } from 'node:crypto';
import type { KmsValue } from './stored-value.ts';

const INFO_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const BLOCK_BYTES = 16;

/**
 * Decrypts an object as kube-apiserver does (k8s.io/apiserver pkg/storage/value/encrypt/aes).
 * @param source - the data key (16, 24 or 32 bytes) or seed (32 bytes or more) that the plugin has decrypted. The caller wipes it
 * @param etcdKey - the object's key in etcd, which the ciphertext is bound to
 * @returns the object, which the caller wipes
 * @throws {@link KmsError} `ERR_KMS_AUTHENTICATION_FAILED`
 */
export function openObject(value: KmsValue, source: Buffer, etcdKey: string): Buffer {
  const { encryptedData: data, dekSourceType } = value;
  if (dekSourceType === 'AES_GCM_KEY') {
    const opened = openGcm(source, data, etcdKey) ?? (value.apiVersion === 'v1' ? openCbc(source, data) : undefined);
    if (opened) return opened;
  } else {
    // HKDF-Expand (RFC 5869 §2.3) of 32 bytes with SHA-256 is one HMAC.
    const key = createHmac('sha256', source).update(data.subarray(0, INFO_BYTES)).update(Buffer.of(1)).digest();
    const opened = openGcm(key, data.subarray(INFO_BYTES), etcdKey);
    key.fill(0);
    if (opened) return opened;
  }
  const message = `the object is not the one that was written to ${JSON.stringify(etcdKey)}, or its bytes have changed`;
  throw new KmsError('ERR_KMS_AUTHENTICATION_FAILED', message, {
    remedy:
      "give the object's own key in etcd with --key; after a change of the bytes, restore the object from a backup",
  });
}

/** Nonce ‖ ciphertext ‖ tag. */
function openGcm(key: Buffer, data: Buffer, etcdKey: string): Buffer | undefined {
  if (data.length < NONCE_BYTES + TAG_BYTES || ![16, 24, 32].includes(key.length)) return undefined;
  const name = `aes-${key.length * 8}-gcm` as 'aes-256-gcm';
  const gcm = createDecipheriv(name, key, data.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  gcm.setAAD(Buffer.from(etcdKey)).setAuthTag(data.subarray(data.length - TAG_BYTES));
  const opened = gcm.update(data.subarray(NONCE_BYTES, data.length - TAG_BYTES));
  try {
    gcm.final();
    return opened;
  } catch {
    opened.fill(0);
    return undefined;
  }
}

/** IV ‖ AES-CBC with PKCS#7, as KMS v1 wrote up to Kubernetes 1.24. Nothing authenticates it. */
function openCbc(key: Buffer, data: Buffer): Buffer | undefined {
  if (data.length < 2 * BLOCK_BYTES || data.length % BLOCK_BYTES !== 0 || ![16, 24, 32].includes(key.length))
    return undefined;
  const cbc = createDecipheriv(`aes-${key.length * 8}-cbc`, key, data.subarray(0, BLOCK_BYTES));
  const opened = cbc.update(data.subarray(BLOCK_BYTES));
  try {
    return Buffer.concat([opened, cbc.final()]);
  } catch {
    return undefined;
  } finally {
    opened.fill(0);
  }
}
