/** Thrown for bytes that are not a message: truncated, too long, or with a string that is not UTF-8. */
export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage';
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const START_GROUP = 3;
const END_GROUP = 4;
const FIXED32 = 5;

/** Depth limit of nested groups, as in Go's protowire. */
const MAX_DEPTH = 32;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Reads the protobuf wire format (protobuf.dev/programming-guides/encoding) from a buffer, without copying. */
export class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Returns the tag of the next field: its number × 8 + its wire type, at most 2^32 - 1. */
  tag(): number {
    const tag = this.#varint();
    if (tag > 0xffffffff) throw new MalformedMessage('a field number out of range');
    if (tag < 8) throw new MalformedMessage('field number 0');
    return tag;
  }

  /** Returns a length-delimited field as a view. */
  bytes(): Buffer {
    const length = this.#varint();
    const start = this.#at;
    if (length > this.#bytes.length - start) throw new MalformedMessage('truncated');
    this.#at = start + length;
    return this.#bytes.subarray(start, this.#at);
  }

  string(): string {
    const bytes = this.bytes();
    try {
      return bytes.length === 0 ? '' : utf8.decode(bytes);
    } catch {
      throw new MalformedMessage('a string that is not UTF-8');
    }
  }

  /** Returns an integer from 0 to 2^53 - 1, which also an int64 may be. */
  integer(): number {
    const value = this.#varint();
    if (!Number.isSafeInteger(value)) throw new MalformedMessage('a number out of range');
    return value;
  }

  /** Returns a uint64 with all its bits, such as an id. */
  uint64(): bigint {
    const start = this.#at;
    this.#varint();
    let value = 0n;
    for (let at = this.#at - 1; at >= start; at--) value = (value << 7n) | BigInt(this.#bytes[at]! & 0x7f);
    return value;
  }

  /** Skips the field of an unknown tag. */
  skip(tag: number, depth = 0): void {
    if (depth > MAX_DEPTH) throw new MalformedMessage('nested too deeply');
    const wireType = tag & 7;
    if (wireType === VARINT) this.#varint();
    else if (wireType === FIXED64) this.#advance(8);
    else if (wireType === BYTES) this.bytes();
    else if (wireType === FIXED32) this.#advance(4);
    else if (wireType === START_GROUP) this.#skipGroup(tag >>> 3, depth);
    else throw new MalformedMessage(`wire type ${wireType}`);
  }

  #skipGroup(group: number, depth: number): void {
    for (;;) {
      const tag = this.tag();
      if ((tag & 7) !== END_GROUP) this.skip(tag, depth + 1);
      else if (tag >>> 3 === group) return;
      else throw new MalformedMessage('groups that do not match');
    }
  }

  #advance(length: number): void {
    if (length > this.#bytes.length - this.#at) throw new MalformedMessage('truncated');
    this.#at += length;
  }

  /** Up to 10 bytes, 64 bits. Above 2^53 the value loses its low bits; callers refuse such values. */
  #varint(): number {
    const first = this.#bytes[this.#at];
    if (first !== undefined && first < 0x80) {
      this.#at++;
      return first;
    }
    let value = 0;
    for (let index = 0; index < 10; index++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new MalformedMessage('truncated');
      if (index === 9 && byte > 1) throw new MalformedMessage('a number of more than 64 bits');
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return value;
    }
    throw new MalformedMessage('a number of more than 10 bytes');
  }
}

/** Returns the tag of a length-delimited field. */
export function bytesTag(field: number): number {
  return (field << 3) | BYTES;
}

/** Returns the tag of a varint field: an integer, an enum or a bool. */
export function integerTag(field: number): number {
  return field << 3;
}

/** Returns a varint field (field numbers 1–15). @param value - 0 to 2^53 - 1 */
export function integerField(field: number, value: number): Buffer {
  const bytes = [integerTag(field)];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  return Buffer.from([...bytes, value]);
}

/** Returns the size of a length-delimited field in bytes, with its one-byte tag. */
export function fieldSize(length: number): number {
  let size = 2 + length;
  for (let rest = length; rest >= 0x80; rest >>>= 7) size++;
  return size;
}

/** Writes the tag (field numbers 1–15) and the length of a length-delimited field. Returns the offset of its content. */
export function writeFieldHeader(out: Buffer, at: number, field: number, length: number): number {
  out[at++] = bytesTag(field);
  for (; length >= 0x80; length >>>= 7) out[at++] = (length & 0x7f) | 0x80;
  out[at++] = length;
  return at;
}
