import { bytesTag, integerTag, Reader } from '@teapot-kms/core/protobuf';

/** An object as etcd stores it. The buffers are views of what it was read from. */
export interface EtcdObject {
  readonly key: Buffer;
  readonly value: Buffer;
  /** Revision of the write that made this value; 0 in a tombstone. */
  readonly modRevision: number;
}

const KEY = bytesTag(1);
const MOD_REVISION = integerTag(3);
const VALUE = bytesTag(5);
const NOTHING: Buffer = Buffer.alloc(0);

/**
 * Reads `mvccpb.KeyValue` (etcd api/mvccpb/kv.proto).
 * @throws MalformedMessage
 */
export function decodeKeyValue(message: Buffer): EtcdObject {
  const reader = new Reader(message);
  let key = NOTHING;
  let value = NOTHING;
  let modRevision = 0;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === KEY) key = reader.bytes();
    else if (tag === VALUE) value = reader.bytes();
    else if (tag === MOD_REVISION) modRevision = reader.integer();
    else reader.skip(tag);
  }
  return { key, value, modRevision };
}
