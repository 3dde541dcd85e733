import { bytesTag, fieldSize, Reader, writeFieldHeader } from '@teapot-kms/core/protobuf';
import type { Answer } from '../transport/seam.ts';

/** The types of fields in KMS messages. */
export type FieldType = 'string' | 'bytes' | 'map';

interface FieldTypes {
  string: string;
  bytes: Buffer;
  /** `map<string, bytes>` */
  map: ReadonlyMap<string, Buffer>;
}

/** A message's fields by name: their number (1–15) and type. */
export type MessageShape = Readonly<Record<string, readonly [number, FieldType]>>;

export type Message<Shape extends MessageShape> = { [Name in keyof Shape]: FieldTypes[Shape[Name][1]] };

/** Fields of a map entry (protobuf.dev/programming-guides/encoding). */
const MAP_KEY = bytesTag(1);
const MAP_VALUE = bytesTag(2);

const EMPTY: Buffer = Buffer.alloc(0);
const EMPTY_MAP: ReadonlyMap<string, Buffer> = new Map();
const DEFAULTS: FieldTypes = { string: '', bytes: EMPTY, map: EMPTY_MAP };

interface Field {
  readonly name: string;
  readonly number: number;
  readonly type: FieldType;
}

/** Reads and writes a proto3 message with a few fields. */
export class MessageCodec<Shape extends MessageShape> {
  readonly #fields: readonly Field[];
  readonly #byTag: readonly (Field | undefined)[];
  readonly #defaults: Readonly<Record<string, FieldTypes[FieldType]>>;

  constructor(shape: Shape) {
    this.#fields = Object.entries(shape).map(([name, [number, type]]) => ({ name, number, type }));
    const byTag: Field[] = [];
    for (const field of this.#fields) byTag[bytesTag(field.number)] = field;
    this.#byTag = byTag;
    this.#defaults = Object.fromEntries(this.#fields.map(({ name, type }) => [name, DEFAULTS[type]]));
  }

  /**
   * Missing fields get their default value, unknown fields are skipped, and of a repeated field the last value counts. Bytes are views
   * of `bytes`.
   * @throws MalformedMessage
   */
  decode(bytes: Buffer): Message<Shape> {
    const message = { ...this.#defaults };
    const reader = new Reader(bytes);
    while (!reader.done) {
      const tag = reader.tag();
      const field = this.#byTag[tag];
      if (!field) reader.skip(tag);
      else if (field.type === 'string') message[field.name] = reader.string();
      else if (field.type === 'bytes') message[field.name] = reader.bytes();
      else {
        const [key, value] = readMapEntry(reader.bytes());
        const before = message[field.name];
        const map = before === EMPTY_MAP ? new Map<string, Buffer>() : (before as Map<string, Buffer>);
        message[field.name] = map.set(key, value);
      }
    }
    return message as Message<Shape>;
  }

  /** Omits fields with their default value, as proto3 does. */
  encode(message: Partial<Message<Shape>>): Buffer {
    return written(this.answer(message));
  }

  /**
   * As {@link MessageCodec.encode}, but encoded only where it is sent from, so that no buffer of its own holds a plaintext. It owns the
   * bytes of its fields: `fill` wipes them.
   */
  answer(message: Partial<Message<Shape>>): Answer {
    const parts: [number, Buffer][] = [];
    for (const { name, number, type } of this.#fields) {
      const value = message[name];
      if (value === undefined) continue;
      if (type === 'map') {
        for (const [key, bytes] of value as ReadonlyMap<string, Buffer>)
          parts.push([number, writeMapEntry(key, bytes)]);
      } else {
        const bytes: Buffer = type === 'string' ? Buffer.from(value as string) : (value as Buffer);
        if (bytes.length > 0) parts.push([number, bytes]);
      }
    }
    return new Fields(parts);
  }
}

function readMapEntry(entry: Buffer): [string, Buffer] {
  const reader = new Reader(entry);
  let key = '';
  let value: Buffer = EMPTY;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === MAP_KEY) key = reader.string();
    else if (tag === MAP_VALUE) value = reader.bytes();
    else reader.skip(tag);
  }
  return [key, value];
}

function writeMapEntry(key: string, value: Buffer): Buffer {
  return written(
    new Fields([
      [1, Buffer.from(key)],
      [2, value],
    ]),
  );
}

/** Length-delimited fields by number. */
class Fields implements Answer {
  readonly #parts: readonly (readonly [number, Buffer])[];
  readonly length: number;

  constructor(parts: readonly (readonly [number, Buffer])[]) {
    this.#parts = parts;
    let length = 0;
    for (const [, bytes] of parts) length += fieldSize(bytes.length);
    this.length = length;
  }

  copy(out: Buffer, at: number): number {
    for (const [number, bytes] of this.#parts) {
      at = writeFieldHeader(out, at, number, bytes.length);
      at += bytes.copy(out, at);
    }
    return this.length;
  }

  fill(): void {
    for (const [, bytes] of this.#parts) bytes.fill(0);
  }
}

function written(message: Answer): Buffer {
  const out = Buffer.allocUnsafe(message.length);
  message.copy(out, 0);
  return out;
}
