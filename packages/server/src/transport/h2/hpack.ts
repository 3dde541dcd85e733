import { ConnectionError } from './errors.ts';
import { kindOfName, makeField } from './fields.ts';
import type { Field } from './fields.ts';
import { decodeHuffman } from './huffman.ts';
import { HEADER_TABLE_BYTES, MAX_HEADER_BLOCK_BYTES, MAX_HEADER_FIELDS, MAX_HEADER_LIST_BYTES } from './limits.ts';
import type { RequestHead } from './request-head.ts';
import { STATIC_TABLE } from './static-table.ts';

const STATIC: readonly Field[] = STATIC_TABLE.map(([name, value]) => {
  const bytes = Buffer.from(name + value);
  return makeField(kindOfName(bytes, 0, name.length), name.length, bytes, name.length, bytes.length);
});

/** An entry has 32 bytes or more, so no table of the announced size has more of them. */
const RING = HEADER_TABLE_BYTES / 32;

/** Decoded strings of the field at hand, its name first. Huffman coding saves three eighths at most. */
const scratch = Buffer.allocUnsafeSlow(2 * Math.ceil((MAX_HEADER_BLOCK_BYTES * 8) / 5));

const compressionError = (what: string): ConnectionError => new ConnectionError('COMPRESSION_ERROR', what);

/**
 * Decodes header blocks (RFC 7541). The table is the connection's state, so every block must be decoded whole, also that of a
 * request which is refused.
 */
export class HeaderDecoder {
  readonly #ring: Field[] = [];
  #newest = 0;
  #count = 0;
  #tableSize = 0;
  #limit = HEADER_TABLE_BYTES;
  #bytes: Buffer = scratch;
  #at = 0;
  #end = 0;
  /** Where the last string ends in {@link scratch}; it begins where it was asked to. */
  #stringEnd = 0;

  /**
   * Decodes `bytes[start..end)`, a whole header block, into `head`.
   * @throws {@link ConnectionError} `COMPRESSION_ERROR`; `ENHANCE_YOUR_CALM` above the bounds of a header list
   */
  decode(bytes: Buffer, start: number, end: number, head: RequestHead): void {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    head.reset();
    let listBytes = 0;
    let fields = 0;
    while (this.#at < end) {
      const byte = bytes[this.#at]!;
      let field: Field;
      if (byte >= 0x80) field = this.#entry(this.#integer(7));
      else if (byte >= 0x40) this.#insert((field = this.#literal(6)));
      else if (byte >= 0x20) {
        if (fields > 0) throw compressionError('a table size update after a field');
        this.#resize(this.#integer(5));
        continue;
      } else field = this.#literal(4);
      listBytes += field.size;
      if (++fields > MAX_HEADER_FIELDS || listBytes > MAX_HEADER_LIST_BYTES)
        throw new ConnectionError('ENHANCE_YOUR_CALM', 'the header list is too long');
      head.add(field);
    }
  }

  #entry(index: number): Field {
    if (index === 0) throw compressionError('index 0');
    if (index <= STATIC.length) return STATIC[index - 1]!;
    const age = index - STATIC.length - 1;
    if (age >= this.#count) throw compressionError('an index out of range');
    return this.#ring[(this.#newest - age + RING) % RING]!;
  }

  #literal(prefixBits: number): Field {
    const index = this.#integer(prefixBits);
    if (index > 0) {
      const { name, nameLength } = this.#entry(index);
      this.#string(0);
      return makeField(name, nameLength, scratch, 0, this.#stringEnd);
    }
    this.#string(0);
    const nameLength = this.#stringEnd;
    this.#string(nameLength);
    return makeField(kindOfName(scratch, 0, nameLength), nameLength, scratch, nameLength, this.#stringEnd);
  }

  #insert(field: Field): void {
    // RFC 7541 §4.4: an entry larger than the table empties it.
    this.#evict(this.#limit - field.size);
    if (field.size > this.#limit) return;
    this.#newest = (this.#newest + 1) % RING;
    this.#ring[this.#newest] = field;
    this.#count++;
    this.#tableSize += field.size;
  }

  #resize(limit: number): void {
    if (limit > HEADER_TABLE_BYTES) throw compressionError('a table size above the announced one');
    this.#limit = limit;
    this.#evict(limit);
  }

  #evict(room: number): void {
    while (this.#count > 0 && this.#tableSize > room) {
      this.#tableSize -= this.#ring[(this.#newest - this.#count + 1 + RING) % RING]!.size;
      this.#count--;
    }
  }

  /** RFC 7541 §5.1, at most five bytes: larger numbers mean nothing here. */
  #integer(prefixBits: number): number {
    const max = (1 << prefixBits) - 1;
    let value = this.#next() & max;
    if (value < max) return value;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.#next();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw compressionError('an integer that is too long');
  }

  /** Puts the next string into {@link scratch} at `to`. */
  #string(to: number): void {
    if (this.#at >= this.#end) throw compressionError('a truncated block');
    const huffman = this.#bytes[this.#at]! >= 0x80;
    const length = this.#integer(7);
    const from = this.#at;
    if (length > this.#end - from) throw compressionError('a truncated block');
    this.#at = from + length;
    if (!huffman) {
      this.#bytes.copy(scratch, to, from, this.#at);
      this.#stringEnd = to + length;
      return;
    }
    const decoded = decodeHuffman(this.#bytes, from, this.#at, scratch, to);
    if (decoded < 0) throw compressionError('a malformed Huffman string');
    this.#stringEnd = decoded;
  }

  #next(): number {
    if (this.#at >= this.#end) throw compressionError('a truncated block');
    return this.#bytes[this.#at++]!;
  }
}
