import { FakeClock } from '@teapot-kms/testing';
import { H2Transport } from '../../../src/transport/h2/transport.ts';
import type { Handler } from '../../../src/transport/seam.ts';
import { FakeSocket } from './fake-socket.ts';
import { parseFrames, PREFACE, settings, Type } from './frames.ts';
import type { TestFrame } from './frames.ts';
import { Answers } from './response-decoder.ts';
import type { Answer } from './response-decoder.ts';

const echo: Handler = (request) => Buffer.from(request);

/** A transport with one handler at /test/Call, a fake clock, and any number of connections without a kernel. */
export class Rig {
  readonly clock: FakeClock;
  readonly transport: H2Transport;

  constructor(handler: Handler = echo, clock = new FakeClock(), maxCalls?: number) {
    this.clock = clock;
    this.transport = new H2Transport(new Map([['/test/Call', handler]]), { clock, maxCalls });
  }

  /** A connection that has sent its preface and SETTINGS. */
  connect(entries: readonly (readonly [number, number])[] = []): RigClient {
    const client = this.accept();
    client.send(PREFACE, settings(entries));
    return client;
  }

  /** A connection that has sent nothing. */
  accept(): RigClient {
    const client = new RigClient();
    this.transport.accept(client.socket.asSocket());
    return client;
  }
}

export class RigClient {
  readonly socket = new FakeSocket();
  readonly #answers = new Answers();
  readonly frames: TestFrame[] = [];

  send(...bytes: readonly Buffer[]): void {
    this.socket.receive(Buffer.concat(bytes));
  }

  /** Reads what the server has sent since the last time. */
  read(): readonly TestFrame[] {
    const frames = parseFrames(this.socket.take());
    this.#answers.add(frames);
    this.frames.push(...frames);
    return frames;
  }

  answer(id: number): Answer | undefined {
    this.read();
    return this.#answers.byStream.get(id);
  }

  /** The code of a GOAWAY, after which the server ends the connection; `undefined` without one. */
  goAway(): number | undefined {
    this.read();
    const found = this.frames.findLast(({ type }) => type === Type.GOAWAY);
    return found?.payload.readUInt32BE(4);
  }

  /** The grpc-status of an answer. */
  status(id: number): number | undefined {
    const answer = this.answer(id);
    const text = (answer?.trailers ?? answer?.fields)?.['grpc-status'];
    return text === undefined ? undefined : Number(text);
  }

  /** The message of an answer, without its prefix. */
  message(id: number): Buffer | undefined {
    return this.answer(id)?.body.subarray(5);
  }
}
