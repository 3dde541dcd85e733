/** An HTTP/2 framer and HPACK encoder of the tests' own: nothing here comes from the transport. */

export interface TestFrame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
}

export const Type = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;
export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;
export const PADDED = 8;
export const WITH_PRIORITY = 0x20;

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export function frame(type: number, flags: number, id: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(id, 5);
  return Buffer.concat([header, payload]);
}

export function uint32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => bytes.writeUInt32BE(value, 4 * index));
  return bytes;
}

export function settings(entries: readonly (readonly [number, number])[] = []): Buffer {
  const payload = Buffer.alloc(6 * entries.length);
  entries.forEach(([key, value], index) => {
    payload.writeUInt16BE(key, 6 * index);
    payload.writeUInt32BE(value, 6 * index + 2);
  });
  return frame(Type.SETTINGS, 0, 0, payload);
}

/** Cuts bytes into frames. @throws where the last one is not whole */
export function parseFrames(bytes: Buffer): TestFrame[] {
  const frames: TestFrame[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readUIntBE(at, 3);
    if (at + 9 + length > bytes.length) throw new Error('a truncated frame');
    frames.push({
      type: bytes[at + 3]!,
      flags: bytes[at + 4]!,
      id: bytes.readUInt32BE(at + 5),
      payload: bytes.subarray(at + 9, at + 9 + length),
    });
    at += 9 + length;
  }
  return frames;
}

/** A literal field without indexing and without Huffman coding. */
export function literal(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.of(0), string(name), string(value)]);
}

export function string(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([integer(7, 0, bytes.length), bytes]);
}

/** RFC 7541 §5.1. */
export function integer(prefixBits: number, pattern: number, value: number): Buffer {
  const max = 2 ** prefixBits - 1;
  if (value < max) return Buffer.of(pattern | value);
  const bytes = [pattern | max];
  let rest = value - max;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

export const REQUEST_FIELDS: Readonly<Record<string, string>> = {
  ':method': 'POST',
  ':scheme': 'http',
  ':path': '/test/Call',
  ':authority': 'localhost',
  'content-type': 'application/grpc',
  te: 'trailers',
};

/** The header block of a call, with changes: `undefined` leaves a field out. */
export function requestBlock(changes: Readonly<Record<string, string | undefined>> = {}): Buffer {
  const fields = Object.entries({ ...REQUEST_FIELDS, ...changes }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return Buffer.concat(fields.map(([name, value]) => literal(name, value)));
}

export function headers(id: number, block: Buffer = requestBlock(), flags: number = END_HEADERS): Buffer {
  return frame(Type.HEADERS, flags, id, block);
}

/** A length-prefixed gRPC message. */
export function grpc(message: Buffer | string, flag = 0): Buffer {
  const bytes = Buffer.from(message as string);
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

export function data(id: number, payload: Buffer | string, flags: number = END_STREAM): Buffer {
  return frame(Type.DATA, flags, id, Buffer.from(payload as string));
}

/** A whole call. */
export function call(id: number, message: Buffer | string = 'x', changes?: Record<string, string | undefined>): Buffer {
  return Buffer.concat([headers(id, requestBlock(changes)), data(id, grpc(message))]);
}
