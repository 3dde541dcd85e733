import type { GrpcStatusCode } from '../seam.ts';
import { HEADER_TABLE_BYTES, MAX_STATUS_MESSAGE_BYTES } from './limits.ts';

const STATUS_200 = 0x88;
/** Literal with incremental indexing (RFC 7541 §6.2.1), name index 31: content-type. */
const CONTENT_TYPE = Buffer.concat([Buffer.of(0x5f), string('application/grpc')]);
const GRPC_STATUS_OK = Buffer.concat([Buffer.of(0x40), string('grpc-status'), string('0')]);
/** The same without indexing (§6.2.2), so that the client's table stays as it is. */
const CONTENT_TYPE_PLAIN = Buffer.concat([Buffer.of(0x0f, 0x10), string('application/grpc')]);
const GRPC_STATUS_OK_PLAIN = literal('grpc-status', '0');
/** A table size of 0 (§6.3). */
const EMPTY_TABLE = 0x20;
/** The client's table holds the entry that was inserted last at index 62. */
const NEWEST = 0x80 | 62;
const SECOND_NEWEST = 0x80 | 63;

/** What of ours the client's HPACK table holds. */
const Table = { EMPTY: 0, CONTENT_TYPE: 1, BOTH: 2, UNUSED: 3 } as const;

/** Longest block that {@link ResponseBlocks} writes for an answer with status OK, in bytes. */
export const MAX_OK_BLOCK_BYTES = 1 + 1 + CONTENT_TYPE_PLAIN.length + 1;

/**
 * Writes the header blocks of answers. After the first answer of a connection the client's table holds both fields, and an OK
 * answer has 2 bytes of HEADERS and 1 byte of trailers.
 */
export class ResponseBlocks {
  #table: (typeof Table)[keyof typeof Table] = Table.EMPTY;
  #emptyFirst = false;

  /** The client's SETTINGS_HEADER_TABLE_SIZE. Below the default, the table is emptied and never used again. */
  clientTableSize(bytes: number): void {
    if (bytes >= HEADER_TABLE_BYTES || this.#table === Table.UNUSED) return;
    this.#table = Table.UNUSED;
    this.#emptyFirst = true;
  }

  /** The header block before a message. Returns where it ends. */
  writeHeaders(out: Buffer, at: number): number {
    at = this.#begin(out, at);
    out[at++] = STATUS_200;
    if (this.#table === Table.BOTH) out[at++] = SECOND_NEWEST;
    else if (this.#table === Table.CONTENT_TYPE) out[at++] = NEWEST;
    else if (this.#table === Table.UNUSED) at += CONTENT_TYPE_PLAIN.copy(out, at);
    else {
      at += CONTENT_TYPE.copy(out, at);
      this.#table = Table.CONTENT_TYPE;
    }
    return at;
  }

  /** The trailers after a message: grpc-status 0. Returns where they end. */
  writeTrailers(out: Buffer, at: number): number {
    at = this.#begin(out, at);
    if (this.#table === Table.BOTH) out[at++] = NEWEST;
    else if (this.#table === Table.UNUSED) at += GRPC_STATUS_OK_PLAIN.copy(out, at);
    else {
      at += GRPC_STATUS_OK.copy(out, at);
      this.#table = Table.BOTH;
    }
    return at;
  }

  /** Puts what the table needs before a block that refers to nothing in it. */
  plain(block: Buffer): Buffer {
    if (!this.#emptyFirst) return block;
    this.#emptyFirst = false;
    return Buffer.concat([Buffer.of(EMPTY_TABLE), block]);
  }

  #begin(out: Buffer, at: number): number {
    if (!this.#emptyFirst) return at;
    this.#emptyFirst = false;
    out[at] = EMPTY_TABLE;
    return at + 1;
  }
}

/** The one block of an answer without a message (grpc PROTOCOL-HTTP2, Trailers-Only). */
export function errorBlock(status: GrpcStatusCode, message: string, httpStatus = 200): Buffer {
  const parts = [statusField(httpStatus), CONTENT_TYPE_PLAIN, literal('grpc-status', String(status))];
  const encoded = encodeStatusMessage(message);
  if (encoded !== '') parts.push(literal('grpc-message', encoded));
  return Buffer.concat(parts);
}

/** The error block of a message in an encoding that is not supported, which names the one that is. */
export function unsupportedEncodingBlock(status: GrpcStatusCode, message: string): Buffer {
  return Buffer.concat([errorBlock(status, message), literal('grpc-accept-encoding', 'identity')]);
}

/** The header block of a plain HTTP answer, for clients that do not speak gRPC. */
export function httpBlock(httpStatus: number): Buffer {
  return Buffer.concat([statusField(httpStatus), Buffer.of(0x0f, 0x10), string('text/plain')]);
}

/**
 * A grpc-message: UTF-8 with `%` and bytes outside 0x20–0x7e as `%XX` (grpc PROTOCOL-HTTP2), at most 1 KiB, cut between
 * characters.
 */
export function encodeStatusMessage(message: string): string {
  let encoded = '';
  for (const character of message.toWellFormed()) {
    let next = '';
    for (const byte of Buffer.from(character)) {
      next +=
        byte >= 0x20 && byte <= 0x7e && byte !== 0x25
          ? String.fromCharCode(byte)
          : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    }
    if (encoded.length + next.length > MAX_STATUS_MESSAGE_BYTES) break;
    encoded += next;
  }
  // A field value has no blank at its end (RFC 9113 §8.2.1).
  return encoded.replace(/^ | $/g, '%20');
}

function statusField(httpStatus: number): Buffer {
  // Name index 8: `:status`, without indexing.
  return httpStatus === 200 ? Buffer.of(STATUS_200) : Buffer.concat([Buffer.of(0x08), string(String(httpStatus))]);
}

function literal(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.of(0x00), string(name), string(value)]);
}

/** A string without Huffman coding (RFC 7541 §5.2). */
function string(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length < 0x7f) return Buffer.concat([Buffer.of(bytes.length), bytes]);
  const length: number[] = [0x7f];
  let rest = bytes.length - 0x7f;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) length.push((rest & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}
