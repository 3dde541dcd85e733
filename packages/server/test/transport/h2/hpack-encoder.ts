import { integer } from './frames.ts';
import { HUFFMAN_CODES } from './huffman-codes.ts';

export interface FieldToEncode {
  readonly name: string;
  readonly value: string;
  /** `indexed` where the table has it, else `insert`. */
  readonly form: 'indexed' | 'insert' | 'plain' | 'never';
  readonly huffman: boolean;
}

const MAX_TABLE_BYTES = 4_096;

/** An HPACK encoder with a dynamic table of its own, as clients have one. It knows no static entries. */
export class HpackEncoder {
  readonly #table: [string, string][] = [];
  #limit = MAX_TABLE_BYTES;

  encode(fields: readonly FieldToEncode[], resize?: number): Buffer {
    const parts: Buffer[] = [];
    if (resize !== undefined) {
      this.#limit = resize;
      this.#evict(resize);
      parts.push(integer(5, 0x20, resize));
    }
    for (const field of fields) parts.push(this.#encode(field));
    return Buffer.concat(parts);
  }

  #encode({ name, value, form, huffman: coded }: FieldToEncode): Buffer {
    const index = this.#table.findIndex((entry) => entry[0] === name && entry[1] === value);
    if (form === 'indexed' && index >= 0) return integer(7, 0x80, index + 62);
    const insert = form === 'indexed' || form === 'insert';
    const [bits, pattern] = insert ? [6, 0x40] : [4, form === 'never' ? 0x10 : 0];
    const nameIndex = this.#table.findIndex((entry) => entry[0] === name);
    const head =
      nameIndex >= 0 ? integer(bits, pattern, nameIndex + 62) : Buffer.concat([Buffer.of(pattern), text(name, coded)]);
    if (insert) {
      const size = name.length + value.length + 32;
      this.#evict(this.#limit - size);
      if (size <= this.#limit) this.#table.unshift([name, value]);
    }
    return Buffer.concat([head, text(value, coded)]);
  }

  #evict(room: number): void {
    const size = (): number => this.#table.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
    while (this.#table.length > 0 && size() > room) this.#table.pop();
  }
}

function text(value: string, coded: boolean): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  const content = coded ? huffman(bytes) : bytes;
  return Buffer.concat([integer(7, coded ? 0x80 : 0, content.length), content]);
}

/** Huffman-codes bytes, padded with ones. */
export function huffman(bytes: Buffer): Buffer {
  let bits = '';
  for (const byte of bytes) {
    const [code, length] = HUFFMAN_CODES[byte]!;
    bits += code.toString(2).padStart(length, '0');
  }
  bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1');
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => parseInt(byte, 2)));
}
