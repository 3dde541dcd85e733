import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { connect as connectHttp2, constants } from 'node:http2';
import { connect } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PlannedCall } from './plan.ts';

export interface Outcome {
  readonly status: number;
  readonly message: string;
  readonly body: Buffer;
}

export interface DifferentialClient {
  /** @param begun - when the handler has begun, for a call that is cancelled then */
  call(planned: PlannedCall, begun: () => Promise<void>): Promise<Outcome>;
  close(): void;
}

const CANCELLED: Outcome = { status: 1, message: '', body: Buffer.alloc(0) };
const identity = (bytes: Buffer): Buffer => bytes;

export function grpcJsClient(socket: string): DifferentialClient {
  const options = { 'grpc.default_authority': 'localhost', 'grpc.use_local_subchannel_pool': 1 };
  const client = new Client(`unix:${socket}`, credentials.createInsecure(), options);
  return {
    call({ path, request, metadata, timeoutMs, cancels }, begun) {
      const fields = new Metadata();
      for (const [name, value] of Object.entries(metadata))
        fields.set(name, name.endsWith('-bin') ? Buffer.from(value, 'base64') : value);
      const deadline = Date.now() + (timeoutMs ?? 600_000);
      return new Promise((resolve) => {
        const call = client.makeUnaryRequest(path, identity, identity, request, fields, { deadline }, (error, answer) =>
          resolve({
            status: error?.code ?? 0,
            message: error?.details ?? '',
            body: answer ?? Buffer.alloc(0),
          }),
        );
        if (cancels) void begun().then(() => call.cancel());
      });
    },
    close: () => client.close(),
  };
}

/** Node's HTTP/2 with frames of gRPC made by hand: it shows what the server sends, and cuts a request into writes. */
export function http2Client(socket: string): DifferentialClient {
  const session = connectHttp2('http://localhost', { createConnection: () => connect(socket) });
  session.on('error', () => undefined);
  return {
    async call({ path, request, metadata, timeoutMs, cancels, cuts }, begun) {
      const stream = session.request({
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...(timeoutMs === undefined ? {} : { 'grpc-timeout': `${timeoutMs}m` }),
        ...metadata,
      });
      const parts: Buffer[] = [];
      let fields: Record<string, unknown> = {};
      stream.on('response', (headers) => (fields = { ...fields, ...headers }));
      stream.on('trailers', (headers) => (fields = { ...fields, ...headers }));
      stream.on('data', (part: Buffer) => parts.push(part));
      const closed = new Promise<void>((resolve) => stream.on('close', resolve).on('error', () => undefined));
      await writeInPieces(stream, Buffer.concat([prefixOf(request), request]), cuts);
      if (cancels) {
        await begun();
        stream.close(constants.NGHTTP2_CANCEL);
        await closed;
        return CANCELLED;
      }
      await closed;
      const bytes = Buffer.concat(parts);
      return {
        status: Number(fields['grpc-status'] ?? -1),
        message: decoded((fields['grpc-message'] as string | undefined) ?? ''),
        body: bytes.length > 0 && prefixOf(bytes.subarray(5)).equals(bytes.subarray(0, 5)) ? bytes.subarray(5) : bytes,
      };
    },
    close: () => session.close(),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return `not percent-encoded: ${text}`;
  }
}

function prefixOf(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return prefix;
}

async function writeInPieces(
  stream: { write(bytes: Buffer): boolean; end(): void; readonly destroyed: boolean },
  bytes: Buffer,
  cuts: readonly number[],
): Promise<void> {
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    // A server that has answered already may have closed the stream.
    if (stream.destroyed) return;
    if (cut > from) stream.write(bytes.subarray(from, cut));
    from = Math.max(from, cut);
    if (cuts.length > 0) await nextTurn();
  }
  if (!stream.destroyed) stream.end();
}
