import { status } from '@grpc/grpc-js';
import { until } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { transports } from '../../src/transport/index.ts';
import { GrpcStatus, maxStreams, RpcError } from '../../src/transport/seam.ts';
import { failure, Fixture, transportSuite } from './transport-suite.ts';

const test = suite('h2');
transportSuite(test, 'h2', transports.h2);

// Not with grpc-js: Node's HTTP/2 refuses calls that take the place of reset ones in the same packet (ADR 0020).
test('more calls than run at a time, all cancelled at once, do not disturb the calls after them', async () => {
  let hanging = true;
  let started = 0;
  const fixture = await new Fixture(transports.h2, (request, { signal }) => {
    if (!hanging) return Buffer.from(request);
    started++;
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(new RpcError(GrpcStatus.CANCELLED, 'aborted')));
    });
  }).listen();
  const call = fixture.client();
  const many = (): (Promise<Buffer> & { cancel?: () => void })[] =>
    Array.from({ length: 1_500 }, () => call(Buffer.from('x'), '/test/Call', 60_000));
  const cancelled = many();
  const failures = cancelled.map((one) => failure(one));
  // A transport may run fewer at a time; the client holds the others back.
  await until('the first calls run', () => started >= maxStreams(), { timeoutMs: 60_000 });
  hanging = false;
  // Both in one packet: the resets, and the calls that take the place of the reset ones.
  for (const one of cancelled) one.cancel?.();
  const answers = await Promise.allSettled(many());
  const ended = await Promise.all(failures);
  await fixture.close();
  assert.is(answers.filter((answer) => answer.status === 'rejected').length, 0);
  assert.ok(ended.every(({ code }) => code === status.CANCELLED));
});

test.run();
