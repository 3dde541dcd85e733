import { safeText } from '@teapot-kms/core';
import type { ClientHttp2Session, IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2';

/** gRPC's statuses (github.com/grpc/grpc doc/statuscodes.md) that tell what to do. */
export const Status = {
  OK: 0,
  DEADLINE_EXCEEDED: 4,
  RESOURCE_EXHAUSTED: 8,
  OUT_OF_RANGE: 11,
  UNAVAILABLE: 14,
} as const;

/** The server refused a call. */
export class CallRefused extends Error {
  override readonly name = 'CallRefused';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The answer is longer than the caller allows. */
export class AnswerTooLong extends Error {
  override readonly name = 'AnswerTooLong';
}

/** HTTP/2's error code CANCEL (RFC 9113 §7). */
const CANCEL = 0x8;
/** Before each gRPC message: a flag of compression, and the length. */
const PREFIX_BYTES = 5;

export interface UnaryCall {
  /** Such as `/etcdserverpb.KV/Range`. */
  readonly path: string;
  readonly message: Buffer;
  /** Longest answer in bytes. */
  readonly maxBytes: number;
  /** Takes the answer, which is valid until the next call with it. */
  readonly into: AnswerBuffer;
  /** Ends the call. */
  readonly signal: AbortSignal;
}

/**
 * Makes one unary gRPC call (github.com/grpc/grpc doc/PROTOCOL-HTTP2.md) without compression.
 * @returns the answer's message
 * @throws CallRefused, AnswerTooLong; any other error where there is no whole answer
 */
export async function unaryCall(
  session: ClientHttp2Session,
  { path, message, maxBytes, into, signal }: UnaryCall,
): Promise<Buffer> {
  const stream = session.request(
    {
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      'user-agent': 'teapot-kms',
    },
    { signal },
  );
  // An answer without a message has its trailers among the headers.
  let headers: IncomingHttpHeaders & IncomingHttpStatusHeader = {};
  const take = (received: IncomingHttpHeaders & IncomingHttpStatusHeader) => (headers = { ...headers, ...received });
  stream.once('response', take).once('trailers', take);
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  stream.end(Buffer.concat([prefix, message]));
  try {
    into.clear();
    for await (const chunk of stream as AsyncIterable<Buffer>) into.append(chunk, maxBytes + PREFIX_BYTES);
    signal.throwIfAborted();
    if (stream.rstCode !== 0) throw new Error(`the stream ended with HTTP/2 code ${stream.rstCode}`);
    return messageOf(into.content(), headers);
  } finally {
    stream.close(CANCEL);
  }
}

/** Takes one answer after the other. The memory of an answer is used again for the next: fresh memory would wait for the garbage collector. */
export class AnswerBuffer {
  #bytes = Buffer.alloc(256 * 1024);
  #length = 0;

  clear(): void {
    this.#length = 0;
  }

  /** @throws AnswerTooLong beyond `maxBytes` in all */
  append(chunk: Buffer, maxBytes: number): void {
    const length = this.#length + chunk.length;
    if (length > maxBytes) throw new AnswerTooLong(`the answer has more than ${maxBytes} bytes`);
    if (length > this.#bytes.length) {
      const larger = Buffer.alloc(Math.min(maxBytes, Math.max(length, 2 * this.#bytes.length)));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    chunk.copy(this.#bytes, this.#length);
    this.#length = length;
  }

  /** What was appended, valid until {@link AnswerBuffer.clear}. */
  content(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }
}

function messageOf(body: Buffer, headers: IncomingHttpHeaders & IncomingHttpStatusHeader): Buffer {
  const httpStatus = headers[':status'];
  if (httpStatus !== 200) throw new Error(`the answer has HTTP status ${String(httpStatus)}`);
  const status = headers['grpc-status'];
  if (typeof status !== 'string' || !/^\d{1,3}$/.test(status)) throw new Error('the answer has no gRPC status');
  if (status !== '0') throw new CallRefused(Number(status), textOf(headers['grpc-message']));
  if (body.length < PREFIX_BYTES || body[0] !== 0 || body.readUInt32BE(1) !== body.length - PREFIX_BYTES) {
    throw new Error('the answer is not one whole message without compression');
  }
  return body.subarray(PREFIX_BYTES);
}

/** `grpc-message` is percent-encoded. */
function textOf(message: string | readonly string[] | undefined): string {
  const text = String(message ?? 'no reason given');
  try {
    return safeText(decodeURIComponent(text));
  } catch {
    return safeText(text);
  }
}
