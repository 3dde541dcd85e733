import { GrpcStatus, MAX_REQUEST_BYTES } from '../seam.ts';
import type { GrpcStatusCode } from '../seam.ts';
import { PREFIX_BYTES } from './limits.ts';
import { MessageArena } from './message-arena.ts';

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

/** Copies of the messages of all connections. */
const arena = new MessageArena();

/** Wipes a message that {@link wholeMessage} or {@link RequestMessage.finish} has returned, as {@link MessageArena.release}. */
export const releaseMessage = (message: Buffer): void => arena.release(message);

/**
 * The common case: `bytes[start..end)` is the whole request.
 * @returns a copy of the message, so that an answer that takes long does not hold the chunk; `undefined` where it is not whole
 */
export function wholeMessage(bytes: Buffer, start: number, end: number): Buffer | undefined {
  const length = end - start - PREFIX_BYTES;
  if (length < 0 || length > MAX_REQUEST_BYTES || bytes[start] !== 0 || bytes.readUInt32BE(start + 1) !== length)
    return undefined;
  return arena.copy(bytes, start + PREFIX_BYTES, end);
}

/** Puts the one message of a unary call together (grpc PROTOCOL-HTTP2, Length-Prefixed-Message). */
export class RequestMessage {
  readonly #hasEncoding: boolean;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixBytes = 0;
  #length = 0;
  /** Only what has arrived is held, whatever the prefix announces. */
  #parts: Buffer[] = [];
  #held = 0;

  /** @param hasEncoding - the request names an encoding other than identity */
  constructor(hasEncoding: boolean) {
    this.#hasEncoding = hasEncoding;
  }

  /** Bytes of the message that are held here. */
  get heldBytes(): number {
    return this.#held;
  }

  /** Copies the next bytes of the request. */
  add(bytes: Buffer, start: number, end: number): MessageFault | undefined {
    let at = start;
    if (this.#prefixBytes < PREFIX_BYTES) {
      at += bytes.copy(this.#prefix, this.#prefixBytes, at, Math.min(end, at + PREFIX_BYTES - this.#prefixBytes));
      this.#prefixBytes += at - start;
      const found = this.#prefixBytes < PREFIX_BYTES ? undefined : this.#readPrefix();
      if (found || at === end) return found;
    }
    if (this.#held + end - at > this.#length) return TWO;
    // Of its own, as a part in Node's pool would keep 64 KiB in memory.
    const part = Buffer.allocUnsafeSlow(end - at);
    bytes.copy(part, 0, at, end);
    this.#parts.push(part);
    this.#held += end - at;
    return undefined;
  }

  /** The message at the end of the request; the caller releases it. */
  finish(): Buffer | MessageFault {
    if (this.#prefixBytes === 0) return NONE;
    if (this.#prefixBytes < PREFIX_BYTES || this.#held < this.#length) return TRUNCATED;
    const message = Buffer.allocUnsafeSlow(this.#length);
    let at = 0;
    for (const part of this.#parts) at += part.copy(message, at);
    this.destroy();
    return message;
  }

  /** Wipes what is held. */
  destroy(): void {
    for (const part of this.#parts) part.fill(0);
    this.#parts = [];
    this.#held = 0;
  }

  #readPrefix(): MessageFault | undefined {
    const flag = this.#prefix[0]!;
    if (flag === 1 && this.#hasEncoding) return COMPRESSED;
    if (flag !== 0) return BAD_FLAG;
    this.#length = this.#prefix.readUInt32BE(1);
    return this.#length > MAX_REQUEST_BYTES ? TOO_LONG : undefined;
  }
}
