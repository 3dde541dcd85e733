import { KmsError } from '@teapot-kms/core';
import { bytesTag, integerTag, MalformedMessage, Reader } from '@teapot-kms/core/protobuf';
import { safeText } from '@teapot-kms/core';

/** What kube-apiserver gets back from a KMS plugin for an object: a seed since 1.29, a data key before and with KMS v1. */
export type DekSourceType = 'AES_GCM_KEY' | 'HKDF_SHA256_XNONCE_AES_GCM_SEED';

/** An object that a KMS plugin helped to encrypt. The buffers are views of the value. */
export interface KmsValue {
  readonly provider: 'kms';
  readonly apiVersion: 'v1' | 'v2';
  /** The provider's name in the EncryptionConfiguration. */
  readonly name: string;
  /** KMS v1 stores none. */
  readonly keyId: string | undefined;
  /** The plugin's ciphertext. */
  readonly encryptedDekSource: Buffer;
  readonly dekSourceType: DekSourceType;
  readonly annotations: ReadonlyMap<string, Buffer>;
  readonly encryptedData: Buffer;
}

/** An object that kube-apiserver encrypted with a key of its own configuration. */
export interface LocalKeyValue {
  readonly provider: 'aescbc' | 'aesgcm' | 'secretbox';
  /** The key's name in the EncryptionConfiguration. */
  readonly name: string;
}

/** An object in plain text. */
export interface PlainValue {
  readonly provider: 'identity';
  readonly encoding: 'json' | 'protobuf' | 'cbor' | 'other';
}

/** A prefix of kube-apiserver's form that is not known here. */
export interface UnknownValue {
  readonly provider: 'unknown';
  /** Such as `xyz:v1`. */
  readonly name: string;
}

export type StoredValue = KmsValue | LocalKeyValue | PlainValue | UnknownValue;

const ENCRYPTED = Buffer.from('k8s:enc:');
const COLON = 0x3a;
/** Longest provider, version and name in bytes. */
const MAX_PART_BYTES = [64, 64, 1_024] as const;
/** How kube-apiserver's encodings begin (k8s.io/apimachinery runtime/serializer); CBOR's is the self-described tag of RFC 8949. */
const PROTOBUF = Buffer.from('k8s\0');
const CBOR = Buffer.from([0xd9, 0xd9, 0xf7]);
const JSON_START = 0x7b;

/** k8s.io/apiserver kmsv2/envelope.go: `KeyIDMaxSize`, `encryptedDEKSourceMaxSize`, `annotationsMaxSize`. */
const MAX_KEY_ID_BYTES = 1_024;
const MAX_DEK_SOURCE_BYTES = 1_024;
const MAX_ANNOTATIONS_BYTES = 32 * 1_024;

const DEK_SOURCE_TYPES: readonly DekSourceType[] = ['AES_GCM_KEY', 'HKDF_SHA256_XNONCE_AES_GCM_SEED'];

/** `v2.EncryptedObject` (k8s.io/apiserver kmsv2/v2/api.proto). */
const DATA = bytesTag(1);
const KEY_ID = bytesTag(2);
const DEK_SOURCE = bytesTag(3);
const ANNOTATION = bytesTag(4);
const DEK_SOURCE_TYPE = integerTag(5);

/**
 * Reads a value as it stands in etcd, and decrypts nothing. Only the prefix says what a value is, as for kube-apiserver.
 * @throws {@link KmsError} `ERR_KMS_STORED_VALUE_MALFORMED` where the rest is not what the prefix says
 */
export function parseStoredValue(value: Buffer): StoredValue {
  if (!value.subarray(0, ENCRYPTED.length).equals(ENCRYPTED))
    return { provider: 'identity', encoding: encodingOf(value) };
  const { provider, version, name, rest } = splitPrefix(value);
  if (provider === 'kms' && version === 'v2') return parseV2(name, rest);
  if (provider === 'kms' && version === 'v1') return parseV1(name, rest);
  const local = (['aescbc', 'aesgcm', 'secretbox'] as const).find((known) => known === provider);
  if (local && version === 'v1') return { provider: local, name };
  return { provider: 'unknown', name: `${provider}:${version}` };
}

/** `k8s:enc:PROVIDER:VERSION:NAME:`, and what follows. */
function splitPrefix(value: Buffer): { provider: string; version: string; name: string; rest: Buffer } {
  const parts: string[] = [];
  let start = ENCRYPTED.length;
  for (const maxBytes of MAX_PART_BYTES) {
    const end = value.indexOf(COLON, start);
    if (end === -1 || end - start > maxBytes) throw malformed('k8s:enc:', 'no provider, version and name follow');
    parts.push(value.toString('utf8', start, end));
    start = end + 1;
  }
  const [provider, version, name] = parts as [string, string, string];
  return { provider, version, name, rest: value.subarray(start) };
}

function encodingOf(value: Buffer): PlainValue['encoding'] {
  if (value.subarray(0, PROTOBUF.length).equals(PROTOBUF)) return 'protobuf';
  if (value.subarray(0, CBOR.length).equals(CBOR)) return 'cbor';
  return value[0] === JSON_START ? 'json' : 'other';
}

/** The length of the encrypted data key as two bytes, that key, the object (k8s.io/apiserver envelope/envelope.go). */
function parseV1(name: string, rest: Buffer): KmsValue {
  const length = rest.length < 2 ? 0 : rest.readUInt16BE(0);
  if (length === 0 || length > rest.length - 2) throw malformed(`kms:v1:${name}`, 'the data key is cut off');
  return {
    provider: 'kms',
    apiVersion: 'v1',
    name,
    keyId: undefined,
    encryptedDekSource: rest.subarray(2, 2 + length),
    dekSourceType: 'AES_GCM_KEY',
    annotations: new Map(),
    encryptedData: rest.subarray(2 + length),
  };
}

function parseV2(name: string, rest: Buffer): KmsValue {
  try {
    const object = readEncryptedObject(rest);
    return { provider: 'kms', apiVersion: 'v2', name, ...object };
  } catch (error) {
    if (!(error instanceof MalformedMessage)) throw error;
    throw malformed(`kms:v2:${name}`, `no EncryptedObject follows: ${error.message}`);
  }
}

/** @throws MalformedMessage also for what kube-apiserver refuses to decrypt */
function readEncryptedObject(rest: Buffer): Omit<KmsValue, 'provider' | 'apiVersion' | 'name'> {
  let encryptedData: Buffer = NOTHING;
  let encryptedDekSource: Buffer = NOTHING;
  let keyId = '';
  let type = 0;
  const annotations = new Map<string, Buffer>();
  let annotated = 0;
  const reader = new Reader(rest);
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === DATA) encryptedData = reader.bytes();
    else if (tag === KEY_ID) keyId = reader.string();
    else if (tag === DEK_SOURCE) encryptedDekSource = reader.bytes();
    else if (tag === DEK_SOURCE_TYPE) type = reader.integer();
    else if (tag === ANNOTATION) {
      const entry = reader.bytes();
      annotated += entry.length;
      if (annotated > MAX_ANNOTATIONS_BYTES) throw new MalformedMessage('the annotations are too long');
      annotations.set(...readAnnotation(entry));
    } else reader.skip(tag);
  }
  if (keyId === '' || Buffer.byteLength(keyId) > MAX_KEY_ID_BYTES)
    throw new MalformedMessage('key id length out of range');
  if (encryptedDekSource.length === 0 || encryptedDekSource.length > MAX_DEK_SOURCE_BYTES) {
    throw new MalformedMessage('encryptedDEKSource length out of range');
  }
  const dekSourceType = DEK_SOURCE_TYPES[type];
  if (!dekSourceType) throw new MalformedMessage(`unknown encryptedDEKSourceType ${type}`);
  return { keyId, encryptedDekSource, dekSourceType, annotations, encryptedData };
}

function readAnnotation(entry: Buffer): [string, Buffer] {
  let key = '';
  let value = NOTHING;
  const reader = new Reader(entry);
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === bytesTag(1)) key = reader.string();
    else if (tag === bytesTag(2)) value = reader.bytes();
    else reader.skip(tag);
  }
  return [key, value];
}

const NOTHING: Buffer = Buffer.alloc(0);

function malformed(prefix: string, problem: string): KmsError {
  const remedy =
    'read the value again without changing it ("etcdctl get KEY --print-value-only"); if it is damaged in etcd, restore the object from a backup';
  return new KmsError('ERR_KMS_STORED_VALUE_MALFORMED', `${safeText(prefix, 100)}: ${problem}`, { remedy });
}
