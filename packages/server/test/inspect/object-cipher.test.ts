import { rejectsWithCode } from '@teapot-kms/testing';
import { createCipheriv, randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openObject } from '../../src/inspect/object-cipher.ts';
import { parseStoredValue } from '../../src/inspect/stored-value.ts';
import type { KmsValue } from '../../src/inspect/stored-value.ts';
import { kmsV1, kmsV2, sealGcm, sealWithSeed } from '../support/stored-values.ts';

const KEY = '/registry/secrets/default/one';
const object = Buffer.from('k8s\0 an object');
const source = randomBytes(32);
const v2 = (encryptedData: Buffer, type?: number): KmsValue =>
  parseStoredValue(
    kmsV2({ keyId: 'k', encryptedDekSource: Buffer.from('c'), encryptedData, ...(type !== undefined && { type }) }),
  ) as KmsValue;
const v1 = (encryptedData: Buffer): KmsValue => parseStoredValue(kmsV1(Buffer.from('c'), encryptedData)) as KmsValue;
const refused = (work: () => unknown) => rejectsWithCode(work, 'ERR_KMS_AUTHENTICATION_FAILED');

test('an object under a seed', () => {
  assert.equal(openObject(v2(sealWithSeed(source, object, KEY)), source, KEY), object);
});

test('an object under a data key, of KMS v2 and v1', () => {
  for (const bytes of [16, 24, 32]) {
    const key = source.subarray(0, bytes);
    assert.equal(openObject(v2(sealGcm(key, object, KEY), 0), key, KEY), object);
  }
  assert.equal(openObject(v1(sealGcm(source, object, KEY)), source, KEY), object);
});

test('an object of KMS v1 in AES-CBC', () => {
  const iv = randomBytes(16);
  const cbc = createCipheriv('aes-256-cbc', source, iv);
  assert.equal(openObject(v1(Buffer.concat([iv, cbc.update(object), cbc.final()])), source, KEY), object);
});

test('another key in etcd, another seed and a changed byte are refused', async () => {
  const sealed = sealWithSeed(source, object, KEY);
  const { remedy } = await refused(() => openObject(v2(sealed), source, '/registry/secrets/default/two'));
  assert.match(remedy ?? '', "give the object's own key in etcd with --key");
  assert.equal(openObject(v2(sealed), source, KEY), object);
  await refused(() => openObject(v2(sealed), randomBytes(32), KEY));
  sealed[50]! ^= 1;
  await refused(() => openObject(v2(sealed), source, KEY));
});

test('too few bytes, and a data key of another length, are refused', async () => {
  await refused(() => openObject(v2(Buffer.alloc(59)), source, KEY));
  await refused(() => openObject(v1(Buffer.alloc(16)), source, KEY));
  await refused(() => openObject(v2(sealGcm(source, object, KEY), 0), randomBytes(20), KEY));
});

test.run();
