import { GrpcStatus, MAX_REQUEST_BYTES } from '../seam.ts';
import type { GrpcStatusCode } from '../seam.ts';
import { PREFIX_BYTES } from './limits.ts';

/** Why a request's bytes are not one message. */
export interface MessageFault {
  readonly status: GrpcStatusCode;
  readonly text: string;
  /** Answer with the encodings that are supported. */
  readonly encoding?: boolean;
}

const fault = (status: GrpcStatusCode, text: string): MessageFault => ({ status, text });
const TOO_LONG = fault(GrpcStatus.RESOURCE_EXHAUSTED, `the message is longer than ${MAX_REQUEST_BYTES} bytes`);
const COMPRESSED: MessageFault = {
  ...fault(GrpcStatus.UNIMPLEMENTED, 'compressed messages are not supported'),
  encoding: true,
};
const BAD_FLAG = fault(GrpcStatus.INTERNAL, 'the compressed flag is set without an encoding, or is not a flag');
const TWO = fault(GrpcStatus.UNIMPLEMENTED, 'more than one message for a unary method');
const NONE = fault(GrpcStatus.UNIMPLEMENTED, 'no message for a unary method');
const TRUNCATED = fault(GrpcStatus.INTERNAL, 'the message is truncated');

/**
 * The common case: `bytes[start..end)` is the whole request, so the message is a view of it.
 * @returns `undefined` where it is not
 */
export function wholeMessage(bytes: Buffer, start: number, end: number): Buffer | undefined {
  const length = end - start - PREFIX_BYTES;
  if (length < 0 || length > MAX_REQUEST_BYTES || bytes[start] !== 0 || bytes.readUInt32BE(start + 1) !== length)
    return undefined;
  return bytes.subarray(start + PREFIX_BYTES, end);
}

/** Puts the one message of a unary call together (grpc PROTOCOL-HTTP2, Length-Prefixed-Message). */
export class RequestMessage {
  readonly #hasEncoding: boolean;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #received = 0;
  #message: Buffer | undefined;

  /** @param hasEncoding - the request names an encoding other than identity */
  constructor(hasEncoding: boolean) {
    this.#hasEncoding = hasEncoding;
  }

  /** Bytes of the message that are held here. */
  get heldBytes(): number {
    return this.#message?.length ?? 0;
  }

  /** Copies the next bytes of the request, and wipes them where they were. */
  add(bytes: Buffer, start: number, end: number): MessageFault | undefined {
    let at = start;
    if (this.#received < PREFIX_BYTES) {
      const to = Math.min(end, at + PREFIX_BYTES - this.#received);
      bytes.copy(this.#prefix, this.#received, at, to);
      this.#received += to - at;
      at = to;
      if (this.#received < PREFIX_BYTES) return undefined;
      const found = this.#open();
      if (found) return found;
    }
    const offset = this.#received - PREFIX_BYTES;
    if (end - at > this.#message!.length - offset) return TWO;
    bytes.copy(this.#message!, offset, at, end);
    bytes.fill(0, at, end);
    this.#received += end - at;
    return undefined;
  }

  /** The message at the end of the request; the caller wipes it. */
  finish(): Buffer | MessageFault {
    if (this.#received === 0) return NONE;
    const message = this.#message;
    if (!message || this.#received - PREFIX_BYTES < message.length) return TRUNCATED;
    this.#message = undefined;
    return message;
  }

  /** Wipes what is held. */
  destroy(): void {
    this.#message?.fill(0);
    this.#message = undefined;
  }

  #open(): MessageFault | undefined {
    const flag = this.#prefix[0]!;
    if (flag === 1 && this.#hasEncoding) return COMPRESSED;
    if (flag !== 0) return BAD_FLAG;
    const length = this.#prefix.readUInt32BE(1);
    if (length > MAX_REQUEST_BYTES) return TOO_LONG;
    this.#message = Buffer.alloc(length);
    return undefined;
  }
}
