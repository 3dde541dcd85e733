import { MAX_DEADLINE_MS } from './limits.ts';

/** What a header field is to this server. A number, because each call compares several. */
export const Kind = {
  OTHER: 0,
  METHOD: 1,
  SCHEME: 2,
  PATH: 3,
  AUTHORITY: 4,
  CONTENT_TYPE: 5,
  TE: 6,
  TIMEOUT: 7,
  ENCODING: 8,
  CONTENT_LENGTH: 9,
  MALFORMED: 10,
} as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/**
 * A header field as it is kept in the HPACK table: checked and understood once, when it is inserted. A field that refers to it
 * by index costs a lookup.
 */
export interface Field {
  /** What its name means: the kind of a later field that refers to the name only. */
  readonly name: Kind;
  /** {@link Field.name}, or `MALFORMED` where the value is not allowed. */
  readonly kind: Kind;
  /** Bytes of the name. */
  readonly nameLength: number;
  /** RFC 7541 §4.1: bytes of name and value, and 32. */
  readonly size: number;
  /** The path; empty for all other kinds. */
  readonly text: string;
  /**
   * By kind. `METHOD`: 1 for POST, 2 for HEAD. `CONTENT_TYPE`: 1 for gRPC. `ENCODING`: 1 for identity. `CONTENT_LENGTH`: bytes.
   * `TIMEOUT`: ms, -1 when malformed.
   */
  readonly number: number;
}

const KINDS: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  [':method', Kind.METHOD],
  [':scheme', Kind.SCHEME],
  [':path', Kind.PATH],
  [':authority', Kind.AUTHORITY],
  ['content-type', Kind.CONTENT_TYPE],
  ['te', Kind.TE],
  ['grpc-timeout', Kind.TIMEOUT],
  ['grpc-encoding', Kind.ENCODING],
  ['content-length', Kind.CONTENT_LENGTH],
  // Connection-specific fields (RFC 9113 §8.2.2).
  ...['connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade'].map(
    (name) => [name, Kind.MALFORMED] as const,
  ),
]);

/** Kinds of pseudo-header fields, which come first and once. */
export const isPseudo = (kind: Kind): boolean => kind >= Kind.METHOD && kind <= Kind.AUTHORITY;

/** The kind of a field with this name. RFC 9113 §8.2.1 and §8.3: lower case, no control characters, known pseudo-header fields. */
export function kindOfName(bytes: Buffer, start: number, end: number): Kind {
  if (start === end) return Kind.MALFORMED;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte <= 0x20 || byte >= 0x7f || (byte >= 0x41 && byte <= 0x5a)) return Kind.MALFORMED;
    if (byte === 0x3a && at > start) return Kind.MALFORMED;
  }
  const kind = KINDS.get(bytes.toString('latin1', start, end));
  return kind ?? (bytes[start] === 0x3a ? Kind.MALFORMED : Kind.OTHER);
}

/** Makes the field of a name and the value `bytes[start..end)`. */
export function makeField(name: Kind, nameLength: number, bytes: Buffer, start: number, end: number): Field {
  const size = nameLength + (end - start) + 32;
  if (name === Kind.MALFORMED || !isValue(bytes, start, end))
    return { name, kind: Kind.MALFORMED, nameLength, size, text: '', number: 0 };
  let kind: Kind = name;
  let text = '';
  let number = 0;
  switch (name) {
    case Kind.TIMEOUT:
      number = timeoutMs(bytes, start, end);
      break;
    case Kind.PATH:
      text = bytes.toString('latin1', start, end);
      if (text === '') kind = Kind.MALFORMED;
      break;
    case Kind.METHOD:
      number = ['POST', 'HEAD'].indexOf(bytes.toString('latin1', start, end)) + 1;
      break;
    case Kind.CONTENT_TYPE:
      number = Number(/^application\/grpc(?:[+;]|$)/.test(bytes.toString('latin1', start, end)));
      break;
    case Kind.ENCODING:
      number = Number(bytes.toString('latin1', start, end) === 'identity');
      break;
    case Kind.TE:
      if (bytes.toString('latin1', start, end) !== 'trailers') kind = Kind.MALFORMED;
      break;
    case Kind.CONTENT_LENGTH:
      text = bytes.toString('latin1', start, end);
      number = /^\d{1,15}$/.test(text) ? Number(text) : -1;
      if (number < 0) kind = Kind.MALFORMED;
      break;
    case Kind.OTHER:
    case Kind.SCHEME:
    case Kind.AUTHORITY:
  }
  return { name, kind, nameLength, size, text, number };
}

/** RFC 9113 §8.2.1: no NUL, CR or LF, and no blank at either end. */
function isValue(bytes: Buffer, start: number, end: number): boolean {
  if (start === end) return true;
  const [first, last] = [bytes[start]!, bytes[end - 1]!];
  if (first === 0x20 || first === 0x09 || last === 0x20 || last === 0x09) return false;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === 0 || byte === 0x0a || byte === 0x0d) return false;
  }
  return true;
}

const UNIT_MS: Readonly<Record<number, number>> = {
  0x6e: 1e-6, // n
  0x75: 1e-3, // u
  0x6d: 1, // m
  0x53: 1_000, // S
  0x4d: 60_000, // M
  0x48: 3_600_000, // H
};

/** A grpc-timeout in ms: one to eight digits and a unit (grpc PROTOCOL-HTTP2); `Infinity` above a day, -1 when malformed. */
function timeoutMs(bytes: Buffer, start: number, end: number): number {
  const digits = end - start - 1;
  const unit = UNIT_MS[bytes[end - 1]!];
  if (digits < 1 || digits > 8 || unit === undefined) return -1;
  let value = 0;
  for (let at = start; at < end - 1; at++) {
    const digit = bytes[at]! - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  const ms = value * unit;
  return ms > MAX_DEADLINE_MS ? Infinity : ms;
}
