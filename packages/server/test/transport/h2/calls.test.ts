import { settle } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GrpcStatus, MAX_REQUEST_BYTES, maxStreams, RpcError } from '../../../src/transport/seam.ts';
import type { Answer, Call, Handler } from '../../../src/transport/seam.ts';
import {
  call,
  data,
  END_HEADERS,
  END_STREAM,
  frame,
  grpc,
  headers,
  requestBlock,
  settings,
  Type,
  uint32,
} from './frames.ts';
import { Rig } from './rig.ts';
import type { RigClient } from './rig.ts';

const test = suite('h2 calls');

const MAX_STREAMS = maxStreams();
const NO_ERROR = 0;
const REFUSED_STREAM = 7;
const CANCEL = 8;

/** A handler that answers when the test says so. */
function held(): { handler: Handler; calls: Call[]; answer: (index: number, bytes: Buffer) => Promise<void> } {
  const calls: Call[] = [];
  const resolvers: ((bytes: Buffer) => void)[] = [];
  const handler: Handler = (_, one) => {
    calls.push(one);
    return new Promise((resolve) => resolvers.push(resolve));
  };
  const answer = async (index: number, bytes: Buffer): Promise<void> => {
    resolvers[index]!(bytes);
    await settle();
  };
  return { handler, calls, answer };
}

test('an answer is HEADERS, one DATA and trailers', () => {
  const client = new Rig().connect();
  client.send(call(1, 'hello'));
  const answer = client.answer(1)!;
  assert.equal(answer.fields, { ':status': '200', 'content-type': 'application/grpc' });
  assert.equal(answer.trailers, { 'grpc-status': '0' });
  assert.equal(answer.body, grpc('hello'));
});

test('what an answered call has left behind sees zeros, and never the bytes of a later call', async () => {
  const seen: Buffer[] = [];
  const client = new Rig((request) => {
    seen.push(request);
    return Promise.resolve(Buffer.alloc(0));
  }).connect();
  client.send(call(1, 'of the first tenant'));
  await settle();
  client.send(call(3, 'of the other tenant'));
  assert.ok(seen[0]!.every((byte) => byte === 0));
});

test('from the second answer on, the blocks have 2 bytes and 1 byte', () => {
  const client = new Rig().connect();
  client.send(call(1));
  client.read();
  client.send(call(3));
  const sizes = client
    .read()
    .filter(({ type }) => type === Type.HEADERS)
    .map(({ payload }) => payload.length);
  assert.equal(sizes, [2, 1]);
  assert.is(client.status(3), GrpcStatus.OK);
});

test('a client without a header table gets literals', () => {
  const client = new Rig().connect([[1, 0]]);
  client.send(call(1), call(3));
  assert.equal([client.status(1), client.status(3)], [GrpcStatus.OK, GrpcStatus.OK]);
});

test('a client that drops its header table later gets literals from then on', () => {
  const client = new Rig().connect();
  client.send(call(1));
  client.read();
  client.send(settings([[1, 100]]), call(3), call(5));
  assert.equal([client.status(3), client.status(5)], [GrpcStatus.OK, GrpcStatus.OK]);
});

test('a method other than POST is answered with HTTP 405 and a body, after the request has ended', () => {
  const client = new Rig().connect();
  client.send(headers(1, requestBlock({ ':method': 'GET', 'content-type': undefined })));
  assert.is(client.answer(1), undefined);
  client.send(data(1, '', END_STREAM));
  const answer = client.answer(1)!;
  assert.is(answer.fields[':status'], '405');
  assert.ok(answer.ended && answer.body.length > 0);
});

test('a content-type other than gRPC is answered with HTTP 415', () => {
  const client = new Rig().connect();
  client.send(call(1, 'x', { 'content-type': 'application/json' }));
  assert.is(client.answer(1)!.fields[':status'], '415');
});

test('HEAD gets a header block alone', () => {
  const client = new Rig().connect();
  client.send(headers(1, requestBlock({ ':method': 'HEAD' }), END_HEADERS | END_STREAM));
  const answer = client.answer(1)!;
  assert.equal([answer.fields[':status'], answer.ended, answer.body.length], ['405', true, 0]);
});

test('a long request that is not gRPC is answered before its end, and the rest is ignored', () => {
  const client = new Rig().connect();
  client.send(headers(1, requestBlock({ 'content-type': 'text/plain' })));
  for (let n = 0; n < 8; n++) client.send(data(1, Buffer.alloc(16_384), 0));
  assert.is(client.answer(1)!.fields[':status'], '415');
  assert.is(client.answer(1)!.reset, NO_ERROR);
  client.send(data(1, ''), call(3, 'next'));
  assert.equal(client.message(3), Buffer.from('next'));
});

for (const type of ['application/grpc', 'application/grpc+proto', 'application/grpc;charset=utf8']) {
  test(`content-type ${type} is gRPC`, () => {
    const client = new Rig().connect();
    client.send(call(1, 'x', { 'content-type': type }));
    assert.is(client.status(1), GrpcStatus.OK);
  });
}

test('an unknown method is UNIMPLEMENTED before the request has ended, and the stream is reset', () => {
  const client = new Rig().connect();
  client.send(headers(1, requestBlock({ ':path': '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo' })));
  assert.is(client.status(1), GrpcStatus.UNIMPLEMENTED);
  assert.is(client.answer(1)!.reset, NO_ERROR);
  client.send(data(1, grpc('late'), 0), data(1, '', END_STREAM), call(3, 'next'));
  assert.equal(client.message(3), Buffer.from('next'));
});

test('a compressed message in an encoding is UNIMPLEMENTED, and the answer names identity', () => {
  const client = new Rig().connect();
  client.send(headers(1, requestBlock({ 'grpc-encoding': 'gzip' })), data(1, grpc('x', 1)));
  assert.is(client.status(1), GrpcStatus.UNIMPLEMENTED);
  assert.is(client.answer(1)!.fields['grpc-accept-encoding'], 'identity');
});

test('a plain message of a client that could compress is taken', () => {
  const client = new Rig().connect();
  client.send(call(1, 'x', { 'grpc-encoding': 'gzip', 'grpc-accept-encoding': 'gzip' }));
  assert.is(client.status(1), GrpcStatus.OK);
});

test('the compressed flag without an encoding is INTERNAL', () => {
  const client = new Rig().connect();
  client.send(headers(1), data(1, grpc('x', 1)));
  assert.is(client.status(1), GrpcStatus.INTERNAL);
});

test('a flag above 1 is INTERNAL', () => {
  const client = new Rig().connect();
  client.send(headers(1), data(1, grpc('x', 2)));
  assert.is(client.status(1), GrpcStatus.INTERNAL);
});

test('a message over the limit is RESOURCE_EXHAUSTED as soon as its prefix is there', () => {
  const client = new Rig().connect();
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(MAX_REQUEST_BYTES + 1, 1);
  client.send(headers(1), data(1, prefix, 0));
  assert.is(client.status(1), GrpcStatus.RESOURCE_EXHAUSTED);
  assert.is(client.answer(1)!.reset, NO_ERROR);
});

test('a message of exactly the limit is taken', () => {
  const client = new Rig(() => Buffer.alloc(0)).connect();
  const bytes = grpc(Buffer.alloc(MAX_REQUEST_BYTES));
  client.send(headers(1));
  for (let at = 0; at < bytes.length; at += 16_384)
    client.send(data(1, bytes.subarray(at, at + 16_384), at + 16_384 >= bytes.length ? END_STREAM : 0));
  assert.is(client.status(1), GrpcStatus.OK);
});

const MESSAGES: readonly (readonly [what: string, sent: readonly Buffer[], status: number])[] = [
  [
    'no message, END_STREAM on HEADERS',
    [headers(1, requestBlock(), END_HEADERS | END_STREAM)],
    GrpcStatus.UNIMPLEMENTED,
  ],
  ['no message, empty DATA', [headers(1), data(1, '')], GrpcStatus.UNIMPLEMENTED],
  ['two messages', [headers(1), data(1, Buffer.concat([grpc('a'), grpc('b')]))], GrpcStatus.UNIMPLEMENTED],
  ['a truncated prefix', [headers(1), data(1, Buffer.alloc(3))], GrpcStatus.INTERNAL],
  ['a truncated message', [headers(1), data(1, grpc('hello').subarray(0, 7))], GrpcStatus.INTERNAL],
  ['grpc-timeout without a unit', [call(1, 'x', { 'grpc-timeout': '30' })], GrpcStatus.INTERNAL],
  ['grpc-timeout of nine digits', [call(1, 'x', { 'grpc-timeout': '123456789n' })], GrpcStatus.INTERNAL],
  ['grpc-timeout of more than a day', [call(1, 'x', { 'grpc-timeout': '99999999H' })], GrpcStatus.OK],
  ['an empty message', [call(1, '')], GrpcStatus.OK],
  [
    'a message in two frames and an empty END_STREAM',
    [headers(1), data(1, grpc('hello').subarray(0, 7), 0), data(1, grpc('hello').subarray(7), 0), data(1, '')],
    GrpcStatus.OK,
  ],
];
for (const [what, sent, status] of MESSAGES) {
  test(`${what}: status ${status}`, () => {
    const client = new Rig().connect();
    client.send(...sent);
    assert.is(client.status(1), status);
  });
}

test('an RpcError goes out with its status, and a text that header fields can carry', () => {
  const client = new Rig(() => {
    throw new RpcError(GrpcStatus.FAILED_PRECONDITION, 'no key: 100 % größer\n');
  }).connect();
  client.send(call(1));
  assert.is(client.status(1), GrpcStatus.FAILED_PRECONDITION);
  assert.is(client.answer(1)!.fields['grpc-message'], 'no key: 100 %25 gr%C3%B6%C3%9Fer%0A');
});

test('a text with half a surrogate pair goes out well-formed and at most 1 KiB long', () => {
  const client = new Rig(() => {
    throw new RpcError(GrpcStatus.UNAVAILABLE, `${'ö'.repeat(1_000)}\ud83d`);
  }).connect();
  client.send(call(1));
  const text = client.answer(1)!.fields['grpc-message']!;
  assert.ok(text.length <= 1_024);
  assert.is(decodeURIComponent(text), 'ö'.repeat(170));
});

test('a call whose deadline has passed is not given to its handler', async () => {
  let handled = 0;
  const rig = new Rig((request) => {
    handled++;
    return Buffer.from(request);
  });
  const client = rig.connect();
  client.send(headers(1, requestBlock({ 'grpc-timeout': '10m' })));
  await rig.clock.advance(20);
  client.send(data(1, grpc('x')));
  assert.equal([client.status(1), handled], [GrpcStatus.DEADLINE_EXCEEDED, 0]);
});

test('a deadline that passes aborts the signal, and is answered', async () => {
  const { handler, calls } = held();
  const rig = new Rig(handler);
  const client = rig.connect();
  client.send(call(1, 'x', { 'grpc-timeout': '100m' }));
  const { signal } = calls[0]!;
  await rig.clock.advance(200);
  assert.is(client.status(1), GrpcStatus.DEADLINE_EXCEEDED);
  assert.is((signal.reason as { code: string }).code, 'ERR_KMS_DEADLINE_EXCEEDED');
});

test('a reset aborts the signal, and the late answer is dropped and wiped', async () => {
  const { handler, calls, answer } = held();
  const client = new Rig(handler).connect();
  client.send(call(1));
  const { signal } = calls[0]!;
  client.send(frame(Type.RST_STREAM, 0, 1, uint32(CANCEL)));
  assert.is((signal.reason as { code: string }).code, 'ERR_KMS_CANCELLED');
  const late = Buffer.from('secret');
  await answer(0, late);
  assert.is(client.answer(1), undefined);
  assert.equal(late, Buffer.alloc(6));
});

test('answers of one turn leave in one write', async () => {
  const { handler, answer } = held();
  const client = new Rig(handler).connect();
  client.send(...[1, 3, 5].map((id) => call(id)));
  client.read();
  let writes = 0;
  const write = client.socket.write.bind(client.socket);
  client.socket.write = (bytes, done) => {
    writes++;
    return write(bytes, done);
  };
  void answer(0, Buffer.from('a'));
  void answer(1, Buffer.from('b'));
  await answer(2, Buffer.from('c'));
  assert.is(writes, 1);
  assert.equal(
    [1, 3, 5].map((id) => client.message(id)?.toString()),
    ['a', 'b', 'c'],
  );
});

/** Sends as many calls as may run, and to each what `after` makes. */
async function fillPlaces(client: RigClient, after: (id: number) => readonly Buffer[] = () => []): Promise<void> {
  for (let n = 0; n < MAX_STREAMS; n++) {
    client.send(call(2 * n + 1), ...after(2 * n + 1));
    if (client.socket.paused) await settle();
  }
}
const FIRST_REFUSED = 2 * MAX_STREAMS + 1;

test('a call beyond the concurrent ones is refused as not processed, and a later one is taken', async () => {
  const { handler, calls, answer } = held();
  const client = new Rig(handler).connect();
  await fillPlaces(client);
  client.send(call(FIRST_REFUSED));
  await settle();
  assert.is(calls.length, MAX_STREAMS);
  assert.is(client.answer(FIRST_REFUSED)!.reset, REFUSED_STREAM);
  await answer(0, Buffer.from('done'));
  client.send(call(FIRST_REFUSED + 2));
  await settle();
  assert.is(calls.length, MAX_STREAMS + 1);
});

test('a reset call keeps its place until its handler settles (rapid reset)', async () => {
  const { handler, calls, answer } = held();
  const client = new Rig(handler).connect();
  await fillPlaces(client, (id) => [frame(Type.RST_STREAM, 0, id, uint32(CANCEL))]);
  client.send(call(FIRST_REFUSED));
  await settle();
  assert.is(client.answer(FIRST_REFUSED)!.reset, REFUSED_STREAM);
  assert.is(calls.length, MAX_STREAMS);
  await answer(0, Buffer.alloc(1));
  client.send(call(FIRST_REFUSED + 2));
  await settle();
  assert.is(calls.length, MAX_STREAMS + 1);
});

test('the request and the answer are wiped', () => {
  const kept: Buffer[] = [];
  const client = new Rig((request) => {
    const answer = Buffer.from(request);
    kept.push(request, answer);
    return answer;
  }).connect();
  client.send(call(1, Buffer.alloc(32, 7)));
  assert.equal(client.message(1), Buffer.alloc(32, 7));
  assert.equal(kept, [Buffer.alloc(32), Buffer.alloc(32)]);
});

test('an answer is written straight into the output, and wiped once', () => {
  const plaintext = Buffer.from('secret');
  const answer: Answer = { length: 6, copy: (out, at) => plaintext.copy(out, at), fill: () => plaintext.fill(0) };
  const client = new Rig(() => answer).connect();
  client.send(call(1));
  assert.equal(client.message(1), Buffer.from('secret'));
  assert.equal(plaintext, Buffer.alloc(6));
});

test('an answer that waits for the window arrives, and is wiped', () => {
  const plaintext = Buffer.from('secret');
  const answer: Answer = { length: 6, copy: (out, at) => plaintext.copy(out, at), fill: () => plaintext.fill(0) };
  const client = new Rig(() => answer).connect([[4, 0]]);
  client.send(call(1));
  assert.equal(plaintext, Buffer.alloc(6));
  client.send(settings([[4, 100]]));
  assert.equal(client.message(1), Buffer.from('secret'));
});

test('the output is wiped when the kernel has it, at once or later', async () => {
  for (const stuck of [false, true]) {
    const client = new Rig(() => Buffer.from('secret')).connect();
    const written: Buffer[] = [];
    const write = client.socket.write.bind(client.socket);
    client.socket.write = (bytes, done) => {
      written.push(bytes);
      return write(bytes, done);
    };
    client.socket.stuck = stuck;
    client.send(call(1));
    if (stuck) {
      assert.ok(Buffer.concat(written).includes('secret'));
      client.socket.unstick();
      await settle();
    }
    assert.equal(client.message(1), Buffer.from('secret'));
    assert.ok(written.length > 0 && written.every((bytes) => bytes.every((byte) => byte === 0)));
  }
});

test('the requests of one read reach their handlers in one turn', async () => {
  const order: string[] = [];
  const client = new Rig((request) => {
    if (order.length === 0) queueMicrotask(() => order.push('later'));
    order.push(request.toString());
    return Promise.resolve(Buffer.alloc(1));
  }).connect();
  client.send(call(1, 'a'), call(3, 'b'), call(5, 'c'));
  await settle();
  assert.equal(order, ['a', 'b', 'c', 'later']);
});

test('an answer that takes long gets the request unchanged, whatever becomes of its connection', async () => {
  const seen: Buffer[] = [];
  const rig = new Rig((request) => {
    seen.push(request);
    return new Promise(() => undefined);
  });
  const client = rig.connect();
  client.send(...Array.from({ length: 70 }, (_, n) => call(2 * n + 1, 'unchanged')));
  client.socket.destroy();
  await settle();
  assert.ok(seen.every((request) => request.toString() === 'unchanged'));
});

test('what one connection writes never goes to another, not even when its handler drains the transport', () => {
  const rig = new Rig(() => {
    void rig.transport.drain(0);
    return Buffer.from('secret');
  });
  const [first, second] = [rig.connect(), rig.connect()];
  first.read();
  second.read();
  first.send(call(1));
  assert.not.ok(second.socket.take().includes('secret'));
});

test.run();
