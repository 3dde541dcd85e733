import { Client, credentials, status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import type { KmsError } from '@teapot-kms/core';
import { FakeClock } from '@teapot-kms/testing';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { SocketListener } from '../../src/transport/socket.ts';
import { GrpcStatus, RpcError } from '../../src/transport/seam.ts';
import type { Call, Handler, Transport, TransportFactory, TransportOptions } from '../../src/transport/seam.ts';

const identity = (bytes: Buffer): Buffer => bytes;

/** A transport on a socket of its own, with one handler at /test/Call. */
export class Fixture {
  readonly #directory = mkdtempSync(join(tmpdir(), 'teapot-'));
  readonly socket = join(this.#directory, 's');
  readonly transport: Transport;
  readonly #clients: Client[] = [];
  #listener: SocketListener | undefined;

  constructor(factory: TransportFactory, handler: Handler, options?: TransportOptions) {
    this.transport = factory(new Map([['/test/Call', handler]]), options);
  }

  async listen(): Promise<this> {
    const onConnection = this.transport.accept.bind(this.transport);
    this.#listener = await SocketListener.listen({ path: this.socket, mode: 0o600, takeOver: false, onConnection });
    return this;
  }

  /** A client with a connection of its own. */
  client(): (request: Buffer, path?: string, timeoutMs?: number) => Promise<Buffer> & { cancel?: () => void } {
    const options = { 'grpc.default_authority': 'localhost', 'grpc.use_local_subchannel_pool': 1 };
    const client = new Client(`unix:${this.socket}`, credentials.createInsecure(), options);
    this.#clients.push(client);
    return (request, path = '/test/Call', timeoutMs = 60_000) => {
      let cancel: (() => void) | undefined;
      const answer = new Promise<Buffer>((resolve, reject) => {
        const deadline = Date.now() + timeoutMs;
        const call = client.makeUnaryRequest(path, identity, identity, request, { deadline }, (error, value) => {
          if (error) reject(error);
          else resolve(value ?? Buffer.alloc(0));
        });
        cancel = () => call.cancel();
      });
      return Object.assign(answer, { cancel: () => cancel?.() });
    };
  }

  async close(clock?: FakeClock): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.#listener?.close();
    const drained = this.transport.drain(100);
    await clock?.advance(100);
    await drained;
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export async function failure(promise: Promise<Buffer>): Promise<ServiceError> {
  try {
    await promise;
  } catch (error) {
    return error as ServiceError;
  }
  throw new Error('the call succeeded');
}

const echo: Handler = (request) => Buffer.from(request);

/** Answers nothing until its call is aborted, and tells why that was. */
function hanging(): { handler: Handler; aborted: Promise<KmsError>; started: Promise<void> } {
  let onAbort: (error: KmsError) => void;
  let onStart: () => void;
  const aborted = new Promise<KmsError>((resolve) => (onAbort = resolve));
  const started = new Promise<void>((resolve) => (onStart = resolve));
  const handler: Handler = (_, { signal }) =>
    new Promise((__, reject) => {
      onStart();
      signal.addEventListener('abort', () => {
        onAbort(signal.reason as KmsError);
        reject(new RpcError(GrpcStatus.CANCELLED, 'aborted'));
      });
    });
  return { handler, aborted, started };
}

/** What every transport must do (design D9), whichever library or code of ours it is made of. */
export function transportSuite(test: Test, name: string, factory: TransportFactory): void {
  const check = (what: string, handler: Handler, run: (fixture: Fixture) => Promise<void>): void => {
    test(`${name}: ${what}`, async () => {
      const fixture = await new Fixture(factory, handler).listen();
      try {
        await run(fixture);
      } finally {
        await fixture.close();
      }
    });
  };

  check('answers what the handler returns', echo, async (fixture) => {
    assert.equal(await fixture.client()(Buffer.from('hello')), Buffer.from('hello'));
  });

  check(
    'answers what the handler promises',
    (request) => sleep(5).then(() => Buffer.from(request)),
    async (fixture) => {
      assert.equal(await fixture.client()(Buffer.from('later')), Buffer.from('later'));
    },
  );

  check('takes an empty message', echo, async (fixture) => {
    assert.is((await fixture.client()(Buffer.alloc(0))).length, 0);
  });

  check('an unknown method is UNIMPLEMENTED', echo, async (fixture) => {
    assert.is((await failure(fixture.client()(Buffer.from('x'), '/test/Other'))).code, status.UNIMPLEMENTED);
  });

  check(
    'an RpcError goes out with its status and text',
    () => {
      throw new RpcError(GrpcStatus.FAILED_PRECONDITION, 'no key: 100 % gone');
    },
    async (fixture) => {
      const { code, details } = await failure(fixture.client()(Buffer.from('x')));
      assert.equal([code, details], [status.FAILED_PRECONDITION, 'no key: 100 % gone']);
    },
  );

  check(
    'any other error is INTERNAL, and its text stays here',
    () => Promise.reject(new TypeError('secret detail')),
    async (fixture) => {
      const { code, details } = await failure(fixture.client()(Buffer.from('x')));
      assert.equal([code, details], [status.INTERNAL, 'internal error']);
    },
  );

  check('a message over the limit is RESOURCE_EXHAUSTED, and the connection goes on', echo, async (fixture) => {
    const call = fixture.client();
    assert.is((await failure(call(Buffer.alloc(140_000)))).code, status.RESOURCE_EXHAUSTED);
    assert.is((await call(Buffer.alloc(66_000, 1))).length, 66_000);
  });

  test(`${name}: a deadline that passes ends the call and aborts the handler's signal`, async () => {
    const { handler, aborted, started } = hanging();
    const fixture = await new Fixture(factory, handler).listen();
    const handlerCall: { reached: boolean } = { reached: false };
    void started.then(() => (handlerCall.reached = true));
    // On a busy machine a short deadline passes before the call reaches the handler.
    for (let timeoutMs = 100; !handlerCall.reached; timeoutMs *= 2) {
      const { code } = await failure(fixture.client()(Buffer.from('x'), '/test/Call', timeoutMs));
      assert.is(code, status.DEADLINE_EXCEEDED);
    }
    // Either the server's own timer or the client's reset comes first.
    const { code } = await aborted;
    assert.ok(code === 'ERR_KMS_DEADLINE_EXCEEDED' || code === 'ERR_KMS_CANCELLED', code);
    await fixture.close();
  });

  test(`${name}: a caller that gives up aborts the handler's signal`, async () => {
    const { handler, aborted, started } = hanging();
    const fixture = await new Fixture(factory, handler).listen();
    const call = fixture.client()(Buffer.from('x'));
    await started;
    call.cancel?.();
    assert.is((await failure(call)).code, status.CANCELLED);
    assert.is((await aborted).code, 'ERR_KMS_CANCELLED');
    await fixture.close();
  });

  const connections: object[] = [];
  const noteConnection: Handler = (request, { connection }) => {
    connections.push(connection);
    return Buffer.from(request);
  };
  check('calls of one connection share an identity that no other has', noteConnection, async (fixture) => {
    const [first, second] = [fixture.client(), fixture.client()];
    await first(Buffer.from('1'));
    await first(Buffer.from('2'));
    await second(Buffer.from('3'));
    assert.is(connections[0], connections[1]);
    assert.is.not(connections[0], connections[2]);
  });

  const kept: Buffer[] = [];
  const keeping: Handler = (request) => {
    const response = Buffer.from(request);
    kept.push(request, response);
    return response;
  };
  check('request and answer are wiped when the call has ended', keeping, async (fixture) => {
    await fixture.client()(Buffer.alloc(32, 7));
    assert.equal(kept, [Buffer.alloc(32), Buffer.alloc(32)]);
  });

  check(
    '1,000 calls at once on one connection',
    (request) => sleep(1).then(() => Buffer.from(request)),
    async (fixture) => {
      const call = fixture.client();
      const answers = await Promise.all(Array.from({ length: 1_000 }, (_, i) => call(Buffer.from(`n${i}`))));
      assert.ok(answers.every((answer, i) => answer.toString() === `n${i}`));
    },
  );

  check('bytes that are no HTTP/2 end their own connection only', echo, async (fixture) => {
    const call = fixture.client();
    await call(Buffer.from('before'));
    const garbage = connect(fixture.socket);
    garbage.on('error', () => undefined).resume();
    garbage.write('GET / HTTP/1.1\r\n\r\n'.repeat(10));
    await new Promise((resolve) => garbage.once('close', resolve));
    assert.equal(await call(Buffer.from('after')), Buffer.from('after'));
  });

  test(`${name}: calls that never end leave room for those that are answered at once`, async () => {
    const maxCalls = 20;
    let waiting = 0;
    const handler: Handler = (request, { signal }) => {
      if (request.toString() === 'Status') return Buffer.from('ok');
      if (waiting === maxCalls) throw new RpcError(GrpcStatus.RESOURCE_EXHAUSTED, 'too many');
      waiting++;
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))));
    };
    const fixture = await new Fixture(factory, handler, { maxCalls }).listen();
    const call = fixture.client();
    const failures = Array.from({ length: 400 }, () => failure(call(Buffer.from('Decrypt'))));
    assert.is((await call(Buffer.from('Status'))).toString(), 'ok');
    assert.is(waiting, maxCalls);
    await fixture.close();
    const codes = (await Promise.all(failures)).map(({ code }) => code);
    assert.is(codes.filter((code) => code === status.RESOURCE_EXHAUSTED).length, 400 - maxCalls);
  });

  test(`${name}: drain lets a call under way finish`, async () => {
    let release: (answer: Buffer) => void = () => undefined;
    const started = Promise.withResolvers<Call>();
    const fixture = await new Fixture(factory, (_, call) => {
      started.resolve(call);
      return new Promise((resolve) => (release = resolve));
    }).listen();
    const call = fixture.client()(Buffer.from('x'));
    await started.promise;
    const drained = fixture.transport.drain(60_000).then(() => 'drained');
    assert.is(await Promise.race([drained, sleep(100, 'waits')]), 'waits');
    release(Buffer.from('done'));
    assert.equal(await call, Buffer.from('done'));
    assert.is(await Promise.race([drained, sleep(30_000, 'waits', { ref: false })]), 'drained');
    await fixture.close();
  });

  test(`${name}: drain does not wait for a client that neither calls nor closes`, async () => {
    const clock = new FakeClock();
    const fixture = await new Fixture(factory, echo, { clock }).listen();
    const silent = connect(fixture.socket);
    silent.on('error', () => undefined).resume();
    await once(silent, 'connect');
    const drained = fixture.transport.drain(60_000);
    await clock.advance(1_000);
    await drained;
    await fixture.close(clock);
  });

  test(`${name}: drain cuts what is left after the grace time`, async () => {
    const { handler, started } = hanging();
    const clock = new FakeClock();
    const fixture = await new Fixture(factory, handler, { clock }).listen();
    const call = failure(fixture.client()(Buffer.from('x')));
    await started;
    const drained = fixture.transport.drain(10_000);
    await clock.advance(9_900);
    assert.is(await Promise.race([drained, sleep(50, 'waits')]), 'waits');
    await clock.advance(100);
    await drained;
    assert.type((await call).code, 'number');
    await fixture.close(clock);
  });
}
