import { createServer } from 'node:http2';
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { integerField } from '@teapot-kms/core/protobuf';
import { message } from '@teapot-kms/testing';

/** What a fake member does with a call. @param request - the gRPC message */
export type Behaviour = (stream: ServerHttp2Stream, request: Buffer) => void;

export interface FakeObject {
  readonly key: string;
  readonly value: Buffer;
  readonly modRevision: number;
}

export interface FakeAnswer {
  readonly clusterId?: number;
  readonly revision?: number;
  readonly objects?: readonly FakeObject[];
  readonly more?: boolean;
  readonly count?: number;
}

/** A member of etcd for faults that a real one does not make on demand: HTTP/2 without TLS on loopback. */
export class FakeEtcd {
  calls = 0;
  behaviour: Behaviour;
  readonly #server = createServer();
  readonly #sessions = new Set<ServerHttp2Session>();

  private constructor(behaviour: Behaviour) {
    this.behaviour = behaviour;
    this.#server.on('session', (session) => {
      this.#sessions.add(session);
      session.on('close', () => this.#sessions.delete(session)).on('error', () => undefined);
    });
    this.#server.on('stream', (stream: ServerHttp2Stream) => {
      this.calls++;
      const chunks: Buffer[] = [];
      stream.on('error', () => undefined).on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => this.behaviour(stream, Buffer.concat(chunks).subarray(5)));
    });
  }

  static async start(behaviour: Behaviour): Promise<FakeEtcd> {
    const fake = new FakeEtcd(behaviour);
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve));
    return fake;
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
  }

  async stop(): Promise<void> {
    for (const session of this.#sessions) session.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Answers with a message and status 0. */
export const answering =
  (body: Buffer, flag = 0): Behaviour =>
  (stream) => {
    const prefix = Buffer.alloc(5);
    prefix[0] = flag;
    prefix.writeUInt32BE(body.length, 1);
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.concat([prefix, body]));
  };

/** Refuses with a status, as etcd does: without a message, so that the trailers are the headers. */
export const refusing =
  (status: number, text: string): Behaviour =>
  (stream) => {
    const headers = { ':status': 200, 'content-type': 'application/grpc' };
    stream.respond(
      { ...headers, 'grpc-status': String(status), 'grpc-message': encodeURIComponent(text) },
      { endStream: true },
    );
  };

/** Writes a `RangeResponse`. */
export function rangeResponse({
  clusterId = 7,
  revision = 40,
  objects = [],
  more = false,
  count = objects.length,
}: FakeAnswer): Buffer {
  const header = Buffer.concat([integerField(1, clusterId), integerField(2, 0xab), integerField(3, revision)]);
  const kvs = objects.map(({ key, value, modRevision }) => {
    const kv = Buffer.concat([message([1, key]), integerField(3, modRevision), message([5, value])]);
    return message([2, kv]);
  });
  return Buffer.concat([message([1, header]), ...kvs, ...(more ? [integerField(3, 1)] : []), integerField(4, count)]);
}
