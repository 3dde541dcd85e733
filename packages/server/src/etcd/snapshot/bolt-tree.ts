import { InvalidFile, numberAt, PAGE_HEADER_BYTES, pageOf } from './bolt-file.ts';
import type { BoltFile, BoltPage } from './bolt-file.ts';

/** One element of a leaf. The buffers are views of its page. */
export interface BoltElement {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly isBucket: boolean;
}

const ELEMENT_BYTES = 16;
const FLAG_BUCKET = 0x01;
/** Root page and sequence of a bucket. */
const BUCKET_HEADER_BYTES = 16;
/** A tree of 4 KiB pages reaches 2^64 keys with fewer levels. */
const MAX_DEPTH = 32;

/**
 * Yields the leaves of a bucket at the top of the database, last key first. Each is valid until the next.
 * @throws InvalidFile
 */
export function* leavesDescending(file: BoltFile, bucket: string): Generator<BoltPage, void, undefined> {
  const header = findBucket(file, file.page(file.rootPage, 0), Buffer.from(bucket), 0);
  if (!header || header.length < BUCKET_HEADER_BYTES) throw new InvalidFile(`it has no bucket "${bucket}"`);
  const root = numberAt(header, 0);
  // A small bucket has its only page in place of a page number.
  yield* descend(file, root === 0 ? pageOf(header.subarray(BUCKET_HEADER_BYTES)) : file.page(root, 0), 0);
}

/** Yields the elements of a leaf, last key first. @throws InvalidFile */
export function* elementsDescending(leaf: BoltPage): Generator<BoltElement, void, undefined> {
  for (let index = leaf.count - 1; index >= 0; index--) yield leafElement(leaf, index);
}

function* descend(file: BoltFile, page: BoltPage, depth: number): Generator<BoltPage, void, undefined> {
  if (!page.isBranch) return yield page;
  if (depth === MAX_DEPTH) throw new InvalidFile('its tree is too deep');
  for (let index = page.count - 1; index >= 0; index--) {
    yield* descend(file, file.page(childOf(page, index), depth + 1), depth + 1);
  }
}

/** A copy of the value of a bucket's element. */
function findBucket(file: BoltFile, page: BoltPage, name: Buffer, depth: number): Buffer | undefined {
  if (depth === MAX_DEPTH) throw new InvalidFile('its tree is too deep');
  if (page.isBranch) {
    // The last child whose first key is not behind the name.
    for (let index = page.count - 1; index >= 0; index--) {
      const at = elementAt(page, index);
      const key = viewOf(page, at + page.bytes.readUInt32LE(at), page.bytes.readUInt32LE(at + 4));
      if (key.compare(name) <= 0) return findBucket(file, file.page(childOf(page, index), depth + 1), name, depth + 1);
    }
    return undefined;
  }
  for (const { key, value, isBucket } of elementsDescending(page))
    if (isBucket && key.equals(name)) return Buffer.from(value);
  return undefined;
}

/** `leafPageElement`: flags, position, key size, value size. */
function leafElement(leaf: BoltPage, index: number): BoltElement {
  const { bytes } = leaf;
  const at = elementAt(leaf, index);
  const start = at + bytes.readUInt32LE(at + 4);
  const keyBytes = bytes.readUInt32LE(at + 8);
  return {
    isBucket: (bytes.readUInt32LE(at) & FLAG_BUCKET) !== 0,
    key: viewOf(leaf, start, keyBytes),
    value: viewOf(leaf, start + keyBytes, bytes.readUInt32LE(at + 12)),
  };
}

/** `branchPageElement`: position, key size, page number. */
function childOf(page: BoltPage, index: number): number {
  return numberAt(page.bytes, elementAt(page, index) + 8);
}

function elementAt({ bytes }: BoltPage, index: number): number {
  const at = PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
  if (at + ELEMENT_BYTES > bytes.length) throw new InvalidFile('a page has more elements than fit into it');
  return at;
}

function viewOf({ bytes, count }: BoltPage, start: number, length: number): Buffer {
  if (start < PAGE_HEADER_BYTES + count * ELEMENT_BYTES || start + length > bytes.length) {
    throw new InvalidFile('an element is outside its page');
  }
  return bytes.subarray(start, start + length);
}
