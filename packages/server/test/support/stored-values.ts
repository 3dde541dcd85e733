import { message } from '@teapot-kms/testing';
import { integerField } from '@teapot-kms/core/protobuf';
import { createCipheriv, createHmac, randomBytes } from 'node:crypto';

/** Writes values as kube-apiserver writes them into etcd, independently of the code that reads them. */

export interface V2Parts {
  readonly name?: string;
  readonly keyId: string;
  readonly encryptedDekSource: Buffer;
  readonly encryptedData?: Buffer;
  readonly annotations?: Readonly<Record<string, Buffer>>;
  /** Default: 1, a seed. */
  readonly type?: number;
}

export function kmsV2(parts: V2Parts): Buffer {
  const {
    name = 'teapot-main',
    keyId,
    encryptedDekSource,
    encryptedData = Buffer.alloc(60, 1),
    annotations = {},
    type = 1,
  } = parts;
  return Buffer.concat([
    Buffer.from(`k8s:enc:kms:v2:${name}:`),
    message([1, encryptedData], [2, keyId], [3, encryptedDekSource]),
    message(...Object.entries(annotations).map(([key, value]) => [4, message([1, key], [2, value])] as const)),
    type === 0 ? Buffer.alloc(0) : integerField(5, type),
  ]);
}

export function kmsV1(
  encryptedDek: Buffer,
  encryptedData: Buffer = Buffer.alloc(60, 1),
  name = 'teapot-main-v1',
): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(encryptedDek.length);
  return Buffer.concat([Buffer.from(`k8s:enc:kms:v1:${name}:`), length, encryptedDek, encryptedData]);
}

/** As with a data key: nonce, ciphertext, tag. */
export function sealGcm(key: Buffer, plaintext: Buffer, etcdKey: string): Buffer {
  const nonce = randomBytes(12);
  const gcm = createCipheriv(`aes-${key.length * 8}-gcm` as 'aes-256-gcm', key, nonce).setAAD(Buffer.from(etcdKey));
  return Buffer.concat([nonce, gcm.update(plaintext), gcm.final(), gcm.getAuthTag()]);
}

/** As with a seed: info, then as with a data key. */
export function sealWithSeed(seed: Buffer, plaintext: Buffer, etcdKey: string): Buffer {
  const info = randomBytes(32);
  const key = createHmac('sha256', seed)
    .update(Buffer.concat([info, Buffer.of(1)]))
    .digest();
  return Buffer.concat([info, sealGcm(key, plaintext, etcdKey)]);
}
