import { bytesTag, fieldSize, integerField, integerTag, Reader, writeFieldHeader } from '@teapot-kms/core/protobuf';
import { decodeKeyValue } from './key-value.ts';
import type { EtcdObject } from './key-value.ts';

export interface RangeRequest {
  readonly key: Buffer;
  /** The first key after the range. Absent: only `key` itself. */
  readonly rangeEnd?: Buffer;
  /** Most objects in the answer. */
  readonly limit: number;
  /** Revision at which to read; 0 is the newest. */
  readonly revision: number;
}

export interface RangeAnswer {
  /** Hexadecimal, as etcdctl shows it. */
  readonly clusterId: string;
  readonly memberId: string;
  /** The newest revision of the store, whichever was read. */
  readonly revision: number;
  /** Sorted by key. */
  readonly objects: readonly EtcdObject[];
  /** Whether the range has more objects than the limit. */
  readonly more: boolean;
  /** Objects from `key` to the end of the range. */
  readonly count: number;
}

/** Writes `RangeRequest` (etcd api/etcdserverpb/rpc.proto). The read is linearizable: the member asks the others how new it is. */
export function encodeRange({ key, rangeEnd, limit, revision }: RangeRequest): Buffer {
  const parts = [bytesField(1, key), integerField(3, limit)];
  if (rangeEnd) parts.push(bytesField(2, rangeEnd));
  if (revision > 0) parts.push(integerField(4, revision));
  return Buffer.concat(parts);
}

function bytesField(field: number, bytes: Buffer): Buffer {
  const out = Buffer.alloc(fieldSize(bytes.length));
  const at = writeFieldHeader(out, 0, field, bytes.length);
  bytes.copy(out, at);
  return out;
}

/**
 * Reads `RangeResponse`.
 * @throws MalformedMessage
 */
export function decodeRange(message: Buffer): RangeAnswer {
  const objects: EtcdObject[] = [];
  let header = { clusterId: '', memberId: '', revision: 0 };
  let more = false;
  let count = 0;
  const reader = new Reader(message);
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === bytesTag(1)) header = decodeHeader(reader.bytes());
    else if (tag === bytesTag(2)) objects.push(decodeKeyValue(reader.bytes()));
    else if (tag === integerTag(3)) more = reader.integer() !== 0;
    else if (tag === integerTag(4)) count = reader.integer();
    else reader.skip(tag);
  }
  return { ...header, objects, more, count };
}

function decodeHeader(message: Buffer): Pick<RangeAnswer, 'clusterId' | 'memberId' | 'revision'> {
  const header = { clusterId: '', memberId: '', revision: 0 };
  const reader = new Reader(message);
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === integerTag(1)) header.clusterId = reader.uint64().toString(16);
    else if (tag === integerTag(2)) header.memberId = reader.uint64().toString(16);
    else if (tag === integerTag(3)) header.revision = reader.integer();
    else reader.skip(tag);
  }
  return header;
}
