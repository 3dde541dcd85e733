import { fieldSize, Reader, writeFieldHeader } from './protobuf.ts';

const LENGTH_DELIMITED = 2;

/** What a field of the KMS messages can be: they have no others. */
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

const EMPTY: Buffer = Buffer.alloc(0);
const EMPTY_MAP: ReadonlyMap<string, Buffer> = new Map();
const DEFAULTS: FieldTypes = { string: '', bytes: EMPTY, map: EMPTY_MAP };

/** A proto3 message of a few fields, read and written by its table. */
export class MessageCodec<Shape extends MessageShape> {
  readonly #fields: { readonly name: string; readonly number: number; readonly type: FieldType }[];

  constructor(shape: Shape) {
    this.#fields = Object.entries(shape).map(([name, [number, type]]) => ({ name, number, type }));
  }

  /**
   * Fields that are missing get their default, unknown ones are passed over, of a repeated one the last counts. Bytes
   * are views of `bytes`.
   * @throws MalformedMessage
   */
  decode(bytes: Buffer): Message<Shape> {
    const message: Record<string, FieldTypes[FieldType]> = {};
    for (const { name, type } of this.#fields) message[name] = DEFAULTS[type];
    const reader = new Reader(bytes);
    while (!reader.done) {
      const { field, wireType } = reader.tag();
      const known = wireType === LENGTH_DELIMITED ? this.#fields.find((one) => one.number === field) : undefined;
      if (!known) reader.skip(field, wireType);
      else if (known.type === 'string') message[known.name] = reader.string();
      else if (known.type === 'bytes') message[known.name] = reader.bytes();
      else {
        const [key, value] = readMapEntry(reader.bytes());
        const map =
          message[known.name] === EMPTY_MAP ? new Map<string, Buffer>() : (message[known.name] as Map<string, Buffer>);
        message[known.name] = map.set(key, value);
      }
    }
    return message as Message<Shape>;
  }

  /** Fields that have their default value are left out, as proto3 does. */
  encode(message: Partial<Message<Shape>>): Buffer {
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
    return writeFields(parts);
  }
}

function readMapEntry(entry: Buffer): [string, Buffer] {
  const reader = new Reader(entry);
  let key = '';
  let value: Buffer = EMPTY;
  while (!reader.done) {
    const { field, wireType } = reader.tag();
    if (field === 1 && wireType === LENGTH_DELIMITED) key = reader.string();
    else if (field === 2 && wireType === LENGTH_DELIMITED) value = reader.bytes();
    else reader.skip(field, wireType);
  }
  return [key, value];
}

function writeMapEntry(key: string, value: Buffer): Buffer {
  return writeFields([
    [1, Buffer.from(key)],
    [2, value],
  ]);
}

function writeFields(parts: readonly (readonly [number, Buffer])[]): Buffer {
  const out = Buffer.allocUnsafe(parts.reduce((size, [, bytes]) => size + fieldSize(bytes.length), 0));
  let at = 0;
  for (const [number, bytes] of parts) {
    at = writeFieldHeader(out, at, number, bytes.length);
    at += bytes.copy(out, at);
  }
  return out;
}
