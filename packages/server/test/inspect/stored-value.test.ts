import { KmsError } from '@teapot-kms/core';
import { rejectsWithCode } from '@teapot-kms/testing';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseStoredValue } from '../../src/inspect/stored-value.ts';
import type { KmsValue } from '../../src/inspect/stored-value.ts';
import { kmsV1, kmsV2 } from '../support/stored-values.ts';

const RUNS = Number(process.env['TEAPOT_FUZZ_RUNS'] ?? 3_000);
const encryptedDekSource = Buffer.from('ciphertext of the seed');
const v2 = { keyId: 'key-1', encryptedDekSource } as const;
const refused = (value: Buffer) => rejectsWithCode(() => parseStoredValue(value), 'ERR_KMS_STORED_VALUE_MALFORMED');

test('KMS v2: every field of the EncryptedObject', () => {
  const annotations = { 'a.example.com': Buffer.from('x'), 'b.example.com': Buffer.alloc(0) };
  const encryptedData = Buffer.from('the object');
  const parsed = parseStoredValue(kmsV2({ ...v2, name: 'other', encryptedData, annotations }));
  assert.equal(parsed, {
    provider: 'kms',
    apiVersion: 'v2',
    name: 'other',
    keyId: 'key-1',
    encryptedDekSource,
    dekSourceType: 'HKDF_SHA256_XNONCE_AES_GCM_SEED',
    annotations: new Map(Object.entries(annotations)),
    encryptedData,
  });
});

test('KMS v2 of Kubernetes 1.28 has a data key instead of a seed', () => {
  assert.is((parseStoredValue(kmsV2({ ...v2, type: 0 })) as KmsValue).dekSourceType, 'AES_GCM_KEY');
});

test('KMS v1: the data key, and no key id', () => {
  const parsed = parseStoredValue(kmsV1(encryptedDekSource, Buffer.from('data'), 'old')) as KmsValue;
  assert.equal([parsed.apiVersion, parsed.name, parsed.keyId], ['v1', 'old', undefined]);
  assert.equal([parsed.encryptedDekSource, parsed.encryptedData], [encryptedDekSource, Buffer.from('data')]);
});

for (const provider of ['aescbc', 'aesgcm', 'secretbox']) {
  test(`${provider}: the name of the key`, () => {
    assert.equal(parseStoredValue(Buffer.from(`k8s:enc:${provider}:v1:key1:xyz`)), { provider, name: 'key1' });
  });
}

test('a provider that is not known is named', () => {
  assert.equal(parseStoredValue(Buffer.from('k8s:enc:rot13:v7:n:x')), { provider: 'unknown', name: 'rot13:v7' });
  assert.equal(parseStoredValue(Buffer.from('k8s:enc:kms:v3:n:x')), { provider: 'unknown', name: 'kms:v3' });
});

for (const [encoding, value] of [
  ['json', '{"kind":"Secret"}'],
  ['protobuf', 'k8s\0\n'],
  ['cbor', '\xd9\xd9\xf7\xa1'],
  ['other', ''],
  ['other', 'k8s:en'],
] as const) {
  test(`plain text that begins with ${JSON.stringify(value.slice(0, 6))} is ${encoding}`, () => {
    assert.equal(parseStoredValue(Buffer.from(value, 'latin1')), { provider: 'identity', encoding });
  });
}

test('a prefix without an end is refused', async () => {
  await refused(Buffer.from('k8s:enc:'));
  await refused(Buffer.from('k8s:enc:kms:v2:name'));
  await refused(Buffer.from(`k8s:enc:kms:v2:${'n'.repeat(2_000)}:`));
});

test('a KMS v1 value whose data key is cut off or empty is refused', async () => {
  await refused(Buffer.from('k8s:enc:kms:v1:n:'));
  await refused(Buffer.from('k8s:enc:kms:v1:n:\0\0x', 'latin1'));
  await refused(Buffer.from('k8s:enc:kms:v1:n:\0\x09x', 'latin1'));
});

test('a KMS v2 value that kube-apiserver refuses is refused, and one that is read whole is taken', async () => {
  const long = (length: number) => 'x'.repeat(length);
  await refused(kmsV2({ ...v2, keyId: '' }));
  await refused(kmsV2({ ...v2, keyId: long(1_025) }));
  await refused(kmsV2({ ...v2, encryptedDekSource: Buffer.alloc(0) }));
  await refused(kmsV2({ ...v2, encryptedDekSource: Buffer.alloc(1_025) }));
  await refused(kmsV2({ ...v2, annotations: { a: Buffer.alloc(33_000) } }));
  await refused(kmsV2({ ...v2, type: 2 }));
  const { remedy } = await refused(kmsV2(v2).subarray(0, -3));
  assert.match(remedy ?? '', 'read the value again without changing it');
  parseStoredValue(kmsV2(v2));
  parseStoredValue(kmsV2({ ...v2, keyId: long(1_024), encryptedDekSource: Buffer.alloc(1_024) }));
});

test('a message names the provider and no byte of the rest', async () => {
  const { message } = await refused(Buffer.from('k8s:enc:kms:v2:mine:top secret'));
  assert.match(message, /^kms:v2:mine: no EncryptedObject follows/);
  assert.not.match(message, 'secret');
});

test('arbitrary bytes behind a prefix are read or refused, with one error code', () => {
  const prefix = fc.constantFrom('', 'k8s:enc:', 'k8s:enc:kms:v2:n:', 'k8s:enc:kms:v1:n:', 'k8s:enc:aescbc:');
  fc.assert(
    fc.property(prefix, fc.uint8Array({ maxLength: 200 }), (head, tail) =>
      readOrRefused(Buffer.concat([Buffer.from(head), tail])),
    ),
    { numRuns: RUNS },
  );
});

test('a value with changed bytes is read or refused, with one error code', () => {
  const whole = kmsV2({ ...v2, annotations: { 'a.b': Buffer.from('x') } });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (changes) => {
        const changed = Buffer.from(whole);
        for (const [at, byte] of changes) changed[at] = byte;
        readOrRefused(changed);
      },
    ),
    { numRuns: RUNS },
  );
});

function readOrRefused(value: Buffer): void {
  try {
    parseStoredValue(value);
  } catch (error) {
    assert.ok(error instanceof KmsError && error.code === 'ERR_KMS_STORED_VALUE_MALFORMED', String(error));
  }
}

test.run();
