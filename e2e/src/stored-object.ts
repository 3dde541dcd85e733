/**
 * What kube-apiserver makes of an object before it goes to etcd.
 * v2: `k8s:enc:kms:v2:NAME:` and a protobuf EncryptedObject (k8s.io/apiserver kmsv2/v2/api.proto).
 * v1: `k8s:enc:kms:v1:NAME:`, the length of the sealed data key as two bytes, that key, the payload (envelope.go).
 */
export type StoredObject = StoredV2 | StoredV1;

export interface StoredV2 {
  readonly version: 'v2';
  readonly provider: string;
  readonly keyId: string;
  /** Our ciphertext of the seed. */
  readonly encryptedDekSource: Buffer;
  /** 0: AES_GCM_KEY, as all writes up to 1.28. 1: HKDF_SHA256_XNONCE_AES_GCM_SEED, as all writes since 1.29. */
  readonly encryptedDekSourceType: number;
  readonly annotations: ReadonlyMap<string, Buffer>;
  readonly encryptedData: Buffer;
}

export interface StoredV1 {
  readonly version: 'v1';
  readonly provider: string;
  /** Our ciphertext of the object's own data key. */
  readonly encryptedDek: Buffer;
  readonly encryptedData: Buffer;
}

/** @throws Error where the bytes are not an object that a KMS plugin helped to encrypt */
export function parseStored(value: Buffer): StoredObject {
  const found = /^k8s:enc:kms:(v[12]):([^:]+):/.exec(value.subarray(0, 200).toString('latin1'));
  if (!found) throw new Error(`not encrypted by a KMS plugin: ${JSON.stringify(value.subarray(0, 40).toString())}`);
  const [prefix, version, provider = ''] = found;
  const rest = value.subarray(prefix.length);
  return version === 'v2' ? parseV2(provider, rest) : parseV1(provider, rest);
}

/** Bytes that are stored again with each object for our sake: ciphertext, key_id and annotations. */
export function overheadOf({ encryptedDekSource, keyId, annotations }: StoredV2): number {
  const annotated = [...annotations].reduce((total, [key, value]) => total + Buffer.byteLength(key) + value.length, 0);
  return encryptedDekSource.length + Buffer.byteLength(keyId) + annotated;
}

function parseV1(provider: string, rest: Buffer): StoredV1 {
  const end = 2 + rest.readUInt16BE(0);
  return { version: 'v1', provider, encryptedDek: rest.subarray(2, end), encryptedData: rest.subarray(end) };
}

function parseV2(provider: string, rest: Buffer): StoredV2 {
  const fields = protobufFields(rest);
  const bytes = (field: number): Buffer => {
    const value = fields.find(([number]) => number === field)?.[1];
    return typeof value === 'object' ? value : Buffer.alloc(0);
  };
  const annotations = new Map<string, Buffer>();
  for (const [number, entry] of fields) {
    if (number !== 4 || typeof entry !== 'object') continue;
    const [key, value] = protobufFields(entry).map(([, content]) => content as Buffer);
    annotations.set((key ?? '').toString(), value ?? Buffer.alloc(0));
  }
  return {
    version: 'v2',
    provider,
    encryptedData: bytes(1),
    keyId: bytes(2).toString(),
    encryptedDekSource: bytes(3),
    encryptedDekSourceType: Number(fields.find(([number]) => number === 5)?.[1] ?? 0),
    annotations,
  };
}

/** The fields of a message that has only varints and length-delimited ones. */
function protobufFields(message: Buffer): [number: number, value: number | Buffer][] {
  const fields: [number, number | Buffer][] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++];
      if (byte === undefined) throw new Error('a truncated protobuf message');
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const value = varint();
    const type = tag & 7;
    if (type === 0) fields.push([tag >>> 3, value]);
    else if (type === 2) fields.push([tag >>> 3, message.subarray(at, (at += value))]);
    else throw new Error(`protobuf wire type ${type} where none was expected`);
  }
  if (at > message.length) throw new Error('a truncated protobuf message');
  return fields;
}
