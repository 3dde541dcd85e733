import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { KmsError } from '@teapot-kms/core';

/** A page of the database with those that continue it (bbolt: page.go). */
export interface BoltPage {
  readonly isBranch: boolean;
  /** Number of elements. */
  readonly count: number;
  readonly bytes: Buffer;
}

/** A damaged or foreign file, or one that is not whole. Its message says what is wrong; {@link EtcdSnapshot} adds where and what to do. */
export class InvalidFile extends Error {
  override readonly name = 'InvalidFile';
}

export const PAGE_HEADER_BYTES = 16;
const FLAG_BRANCH = 0x01;
const FLAG_LEAF = 0x02;
const FLAG_META = 0x04;
const MAGIC = 0xed0cdaed;
const VERSION = 2;
/** From the magic number to the checksum. */
const META_BYTES = 56;
const PAGE_SIZES = Array.from({ length: 8 }, (_, n) => 512 * 2 ** n);
/** A page with its overflow holds at least two values, each of at most some MiB. */
const MAX_PAGE_BYTES = 64 * 1024 * 1024;

interface Meta {
  readonly pageSize: number;
  readonly rootPage: number;
  /** Pages from here on are not in use. */
  readonly pages: number;
  readonly transaction: number;
}

/** Reads the pages of a bbolt database (github.com/etcd-io/bbolt, file format version 2). Everything in the file is checked before it is used. */
export class BoltFile {
  readonly bytes: number;
  readonly #file: number;
  readonly #meta: Meta;
  /** Pages read so far: in a tree, each is read once. A damaged file may have a cycle. */
  #read = 0;
  /** A buffer for each level of the tree. A million buffers would wait for the garbage collector. */
  readonly #buffers: Buffer[] = [];

  /** @throws InvalidFile, or the error of the file system */
  constructor(path: string) {
    this.#file = openSync(path, 'r');
    try {
      this.bytes = fstatSync(this.#file).size;
      this.#meta = this.#newestMeta();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get rootPage(): number {
    return this.#meta.rootPage;
  }

  get pageBytes(): number {
    return this.#meta.pageSize;
  }

  /** Fraction of the pages that were read. */
  get progress(): number {
    return this.#read / this.#meta.pages;
  }

  /**
   * Reads a page, which is valid until the next one of the same level.
   * @param level - of the tree, 0 at its root
   * @throws InvalidFile
   */
  page(id: number, level: number): BoltPage {
    const { pageSize, pages } = this.#meta;
    if (id < 2 || id >= pages) throw new InvalidFile(`there is no page ${id}`);
    const first = this.fill(this.#bufferOf(level, pageSize), id * pageSize);
    const overflow = first.readUInt32LE(12);
    const length = (overflow + 1) * pageSize;
    if (id + overflow >= pages || length > MAX_PAGE_BYTES) throw new InvalidFile(`page ${id} has a wrong length`);
    this.#read += overflow + 1;
    if (this.#read > pages) throw new InvalidFile('its pages form a cycle');
    if (first.readBigUInt64LE(0) !== BigInt(id)) throw new InvalidFile(`page ${id} says that it is another one`);
    return pageOf(overflow === 0 ? first : this.fill(this.#bufferOf(level, length), id * pageSize));
  }

  close(): void {
    closeSync(this.#file);
  }

  /** A transaction writes one of two metas, so that a crash damages one at most. */
  #newestMeta(): Meta {
    const first = this.#metaAt(0);
    const sizes = first ? [first.pageSize] : PAGE_SIZES;
    const second = sizes.map((size) => this.#metaAt(size)).find((meta) => meta !== undefined);
    const [newest] = [first, second].filter((meta) => meta !== undefined).sort((a, b) => b.transaction - a.transaction);
    if (!newest) throw new InvalidFile('it is no bbolt database');
    if (newest.pages * newest.pageSize > this.bytes) {
      throw new InvalidFile(`it has ${this.bytes} bytes of ${newest.pages * newest.pageSize}: it is cut off`);
    }
    return newest;
  }

  #metaAt(position: number): Meta | undefined {
    const length = PAGE_HEADER_BYTES + META_BYTES + 8;
    if (position + length > this.bytes) return undefined;
    const bytes = this.fill(Buffer.alloc(length), position);
    const meta = bytes.subarray(PAGE_HEADER_BYTES);
    if ((bytes.readUInt16LE(8) & FLAG_META) === 0 || meta.readUInt32LE(0) !== MAGIC) return undefined;
    if (meta.readUInt32LE(4) !== VERSION || meta.readBigUInt64LE(META_BYTES) !== fnv1a(meta.subarray(0, META_BYTES))) {
      return undefined;
    }
    const pageSize = meta.readUInt32LE(8);
    if (!PAGE_SIZES.includes(pageSize)) return undefined;
    return {
      pageSize,
      rootPage: numberAt(meta, 16),
      pages: numberAt(meta, 40),
      transaction: numberAt(meta, 48),
    };
  }

  #bufferOf(level: number, length: number): Buffer {
    const buffer = this.#buffers[level];
    if (buffer && buffer.length >= length) return buffer.subarray(0, length);
    return (this.#buffers[level] = Buffer.alloc(length));
  }

  /** Reads bytes of the file into a buffer and returns it. @throws InvalidFile at the end of the file */
  fill(bytes: Buffer, position: number): Buffer {
    for (let done = 0; done < bytes.length;) {
      const read = readSync(this.#file, bytes, done, bytes.length - done, position + done);
      if (read === 0) throw new InvalidFile('it ends too early');
      done += read;
    }
    return bytes;
  }
}

/**
 * Reads the header of a page.
 * @throws InvalidFile if it is neither a branch nor a leaf
 */
export function pageOf(bytes: Buffer): BoltPage {
  const kind = bytes.length < PAGE_HEADER_BYTES ? 0 : bytes.readUInt16LE(8) & (FLAG_BRANCH | FLAG_LEAF);
  if (kind !== FLAG_BRANCH && kind !== FLAG_LEAF) throw new InvalidFile('a page is neither branch nor leaf');
  const count = bytes.readUInt16LE(10);
  return { isBranch: kind === FLAG_BRANCH, count, bytes };
}

/** A number of 64 bits. @throws InvalidFile above 2^53 - 1, which no page number reaches */
export function numberAt(bytes: Buffer, at: number): number {
  const value = Number(bytes.readBigUInt64LE(at));
  if (!Number.isSafeInteger(value)) throw new InvalidFile('a number is out of range');
  return value;
}

/** bbolt's checksum of a meta: FNV-1a with 64 bits. */
function fnv1a(bytes: Buffer): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

/** The error that a caller sees. */
export function invalidSnapshot(path: string, cause: Error): KmsError {
  return new KmsError('ERR_KMS_SNAPSHOT_INVALID', `${path}: ${cause.message}`, {
    cause,
    remedy: 'use a whole file of "etcdctl snapshot save", or save it again',
  });
}
