import { integerField } from '@teapot-kms/core/protobuf';
import { message } from '@teapot-kms/testing';
import { createHash } from 'node:crypto';
import { appendFileSync, closeSync, openSync, readFileSync, writeSync } from 'node:fs';

/**
 * Writes a bbolt database as etcd's snapshot has it: bucket `key` with one element per revision. A test against a real etcd shows that
 * the reader reads more than this.
 */

export interface Revision {
  readonly revision: number;
  readonly key: string;
  /** Absent: the key was deleted. */
  readonly value?: Buffer;
}

export interface BoltOptions {
  readonly pageSize?: number;
  /** Whether etcdctl's checksum is at the end. */
  readonly checksum?: boolean;
  /** Elements of a branch. Small numbers make deep trees. */
  readonly fanOut?: number;
  readonly bucket?: string;
}

type Element = readonly [key: Buffer, value: Buffer];
interface Child {
  readonly first: Buffer;
  readonly page: number;
}

/** Writes revisions in ascending order, and keeps none of them. */
export function writeSnapshot(path: string, revisions: Iterable<Revision>, options: BoltOptions = {}): void {
  const { pageSize = 4_096, checksum = true, fanOut = 100, bucket = 'key' } = options;
  const file = openSync(path, 'w');
  let nextPage = 2;
  let at = 2 * pageSize;
  const append = (bytes: Buffer): number => {
    const page = nextPage;
    const overflow = Math.ceil(bytes.length / pageSize) - 1;
    bytes.writeBigUInt64LE(BigInt(page));
    bytes.writeUInt32LE(overflow, 12);
    const padded = Buffer.concat([bytes, Buffer.alloc((overflow + 1) * pageSize - bytes.length)]);
    writeSync(file, padded, 0, padded.length, at);
    at += padded.length;
    nextPage += overflow + 1;
    return page;
  };

  let level: Child[] = [];
  let leaf: Element[] = [];
  let leafBytes = 16;
  const flush = (): void => {
    if (leaf.length > 0) level.push({ first: leaf[0]![0], page: append(leafPage(leaf)) });
    leaf = [];
    leafBytes = 16;
  };
  for (const revision of revisions) {
    const element = [revisionKey(revision), keyValue(revision)] as const;
    const size = 16 + element[0].length + element[1].length;
    if (leafBytes + size > pageSize) flush();
    leaf.push(element);
    leafBytes += size;
  }
  flush();
  while (level.length > 1) {
    const above: Child[] = [];
    for (let from = 0; from < level.length; from += fanOut) {
      const children = level.slice(from, from + fanOut);
      above.push({ first: children[0]!.first, page: append(branchPage(children)) });
    }
    level = above;
  }
  const root = level[0]?.page ?? append(leafPage([]));
  const rootPage = append(leafPage([[Buffer.from(bucket), bucketHeader(root)]], 1));
  const metas = Buffer.concat([
    meta(0, { pageSize, rootPage, pages: nextPage }),
    meta(1, { pageSize, rootPage, pages: nextPage }),
  ]);
  writeSync(file, metas, 0, metas.length, 0);
  closeSync(file);
  if (checksum) appendFileSync(path, createHash('sha256').update(readFileSync(path)).digest());
}

function bucketHeader(root: number): Buffer {
  const header = Buffer.alloc(16);
  header.writeBigUInt64LE(BigInt(root));
  return header;
}

function leafPage(elements: readonly Element[], flags = 0): Buffer {
  const head = Buffer.alloc(16 + 16 * elements.length);
  head.writeUInt16LE(0x02, 8);
  head.writeUInt16LE(elements.length, 10);
  let end = head.length;
  for (const [index, [key, value]] of elements.entries()) {
    const at = 16 + 16 * index;
    head.writeUInt32LE(flags, at);
    head.writeUInt32LE(end - at, at + 4);
    head.writeUInt32LE(key.length, at + 8);
    head.writeUInt32LE(value.length, at + 12);
    end += key.length + value.length;
  }
  return Buffer.concat([head, ...elements.flat()]);
}

function branchPage(children: readonly Child[]): Buffer {
  const head = Buffer.alloc(16 + 16 * children.length);
  head.writeUInt16LE(0x01, 8);
  head.writeUInt16LE(children.length, 10);
  let end = head.length;
  for (const [index, { first, page }] of children.entries()) {
    const at = 16 + 16 * index;
    head.writeUInt32LE(end - at, at);
    head.writeUInt32LE(first.length, at + 4);
    head.writeBigUInt64LE(BigInt(page), at + 8);
    end += first.length;
  }
  return Buffer.concat([head, ...children.map(({ first }) => first)]);
}

function meta(
  id: number,
  { pageSize, rootPage, pages }: { pageSize: number; rootPage: number; pages: number },
): Buffer {
  const page = Buffer.alloc(pageSize);
  page.writeBigUInt64LE(BigInt(id));
  page.writeUInt16LE(0x04, 8);
  page.writeUInt32LE(0xed0cdaed, 16);
  page.writeUInt32LE(2, 20);
  page.writeUInt32LE(pageSize, 24);
  page.writeBigUInt64LE(BigInt(rootPage), 32);
  page.writeBigUInt64LE(BigInt(pages), 56);
  page.writeBigUInt64LE(BigInt(100 + id), 64);
  let hash = 0xcbf29ce484222325n;
  for (const byte of page.subarray(16, 72)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  page.writeBigUInt64LE(hash, 72);
  return page;
}

function revisionKey({ revision, value }: Revision): Buffer {
  const key = Buffer.alloc(17);
  key.writeBigUInt64BE(BigInt(revision));
  key[8] = 0x5f;
  return value ? key : Buffer.concat([key, Buffer.from('t')]);
}

function keyValue({ revision, key, value }: Revision): Buffer {
  if (!value) return message([1, key]);
  return Buffer.concat([
    message([1, key]),
    integerField(2, revision),
    integerField(3, revision),
    integerField(4, 1),
    message([5, value]),
  ]);
}
