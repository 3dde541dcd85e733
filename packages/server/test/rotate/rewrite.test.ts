import { unavailable } from '@teapot-kms/core';
import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { rewriteResource } from '../../src/rotate/rewrite.ts';
import type { Rewritten } from '../../src/rotate/rewrite.ts';
import { FakeKubernetes, status } from '../support/fake-kubernetes.ts';

const SECRETS = { prefix: '/api/v1', name: 'secrets', namespaced: true };

function rewrite(kubernetes: FakeKubernetes, rate = Infinity): Promise<Rewritten> {
  return kubernetes.during(rewriteResource(kubernetes, SECRETS, { rate, onProgress: () => undefined }));
}

test('every object is written once, and again none', async () => {
  const kubernetes = FakeKubernetes.of(1_200);
  assert.equal(await rewrite(kubernetes), { written: 1_200, unchanged: 0, gone: 0, failures: [] });
  assert.equal(await rewrite(kubernetes), { written: 0, unchanged: 1_200, gone: 0, failures: [] });
  assert.is(kubernetes.writes, 1_200);
});

test('a rewrite that was ended goes on: what it has written is not written again', async () => {
  const kubernetes = FakeKubernetes.of(700);
  kubernetes.fault = ({ method }) => {
    if (method === 'PATCH' && kubernetes.writes >= 300) throw new Error('killed');
    return undefined;
  };
  await rewrite(kubernetes).then(
    () => assert.unreachable(),
    (error: unknown) => assert.match(String(error), 'killed'),
  );
  kubernetes.fault = () => undefined;
  const { written, unchanged } = await rewrite(kubernetes);
  assert.equal([written, unchanged, kubernetes.writes], [400, 300, 700]);
});

test('no data leaves the server: only names are read, and a patch changes nothing', async () => {
  const kubernetes = FakeKubernetes.of(2);
  await rewrite(kubernetes);
  for (const { accept } of kubernetes.requests) assert.match(accept, /as=PartialObjectMetadata/);
  const patches = kubernetes.requests.filter(({ method }) => method === 'PATCH');
  assert.equal(
    patches.map(({ body }) => body!.bytes.toString()),
    ['{}', '{}'],
  );
});

test('memory is bounded: pages of 500, and eight requests at a time', async () => {
  const kubernetes = FakeKubernetes.of(2_001);
  await rewrite(kubernetes);
  assert.is(kubernetes.count('GET'), 5);
  assert.is(kubernetes.mostUnderWay, 8);
});

test('the rate is kept, and progress reaches the end', async () => {
  const kubernetes = FakeKubernetes.of(600);
  const seen: number[] = [];
  const options = { rate: 10, onProgress: ({ fraction }: { fraction: number }) => seen.push(fraction) };
  await kubernetes.during(rewriteResource(kubernetes, SECRETS, options));
  assert.ok(kubernetes.clock.now() >= 59_000, `${kubernetes.clock.now()} ms`);
  assert.equal([seen[0], seen[299], seen.at(-1)], [1 / 600, 0.5, 1]);
});

test('an object that others change or delete meanwhile is none to worry about', async () => {
  const kubernetes = FakeKubernetes.of(3);
  kubernetes.fault = ({ path }) => {
    if (path.endsWith('/s-0')) {
      kubernetes.touch('s-1');
      kubernetes.objects.delete('s-2');
    }
    return undefined;
  };
  assert.equal(await rewrite(kubernetes), { written: 2, unchanged: 0, gone: 1, failures: [] });
  assert.is(kubernetes.writes, 1);
});

for (const [fault, made] of [
  ['a conflict', () => status(409, 'the object has been modified')],
  ['an overloaded server', () => status(503, 'busy')],
  ['an internal error', () => status(500, 'etcdserver: request timed out')],
] as const) {
  test(`${fault} is tried again`, async () => {
    const kubernetes = FakeKubernetes.of(5);
    let left = 3;
    kubernetes.fault = ({ method }) => (method === 'PATCH' && left-- > 0 ? made() : undefined);
    assert.is((await rewrite(kubernetes)).written, 5);
    assert.is(kubernetes.count('PATCH'), 8);
  });
}

test('a request without an answer is sent again', async () => {
  const kubernetes = FakeKubernetes.of(1);
  kubernetes.fault = () => {
    if (kubernetes.requests.length % 2 === 1) throw unavailable('the connection was cut');
    return undefined;
  };
  assert.is((await rewrite(kubernetes)).written, 1);
});

test('429 with Retry-After: it waits for as long as the server asks', async () => {
  const kubernetes = FakeKubernetes.of(1);
  kubernetes.fault = ({ method }) =>
    method === 'PATCH' && kubernetes.count('PATCH') === 1 ? status(429, 'slow down', {}, 30_000) : undefined;
  assert.is((await rewrite(kubernetes)).written, 1);
  assert.ok(kubernetes.clock.now() >= 30_000);
});

test('410 Gone: the list goes on with the token that the server offers', async () => {
  const kubernetes = FakeKubernetes.of(1_200);
  let expired = false;
  kubernetes.fault = ({ path }) => {
    if (expired || !path.includes('continue=500')) return undefined;
    expired = true;
    return status(410, 'expired', { continue: '490' });
  };
  const { written, unchanged } = await rewrite(kubernetes);
  assert.equal([written, unchanged, kubernetes.writes], [1_200, 10, 1_200]);
});

test('410 Gone without a token: the list begins again, a few times', async () => {
  const kubernetes = FakeKubernetes.of(600);
  let expiries = 0;
  kubernetes.fault = ({ path }) => (path.includes('continue=') && ++expiries <= 5 ? status(410, 'too old') : undefined);
  assert.equal([(await rewrite(kubernetes)).written, kubernetes.writes], [600, 600]);
  kubernetes.fault = ({ path }) => (path.includes('continue=') ? status(410, 'too old') : undefined);
  const error = await rejectsWithCode(() => rewrite(kubernetes), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, 'the list has expired 6 times');
});

test('a page that does not come is asked for with half as many objects', async () => {
  const kubernetes = FakeKubernetes.of(600);
  kubernetes.fault = ({ path }) => {
    const limit = Number(/limit=(\d+)/.exec(path)?.[1] ?? 0);
    if (limit > 125) throw unavailable('an answer of the API server exceeds 4194304 bytes');
    return undefined;
  };
  assert.is((await rewrite(kubernetes)).written, 600);
});

test('an object that may not be written is named, and the others are written', async () => {
  const kubernetes = FakeKubernetes.of(5);
  kubernetes.fault = ({ path }) =>
    path.endsWith('/s-2') ? status(403, 'admission webhook "w" denied the request') : undefined;
  const { written, failures } = await rewrite(kubernetes);
  assert.is(written, 4);
  assert.equal(failures, [
    '/api/v1/namespaces/ns-2/secrets/s-2: HTTP status 403 admission webhook "w" denied the request',
  ]);
});

test('a hundred such objects end the rewrite', async () => {
  const kubernetes = FakeKubernetes.of(1_000);
  kubernetes.fault = ({ method }) => (method === 'PATCH' ? status(403, 'forbidden') : undefined);
  const error = await rejectsWithCode(() => rewrite(kubernetes), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, '100 objects cannot be written, the first is /api/v1/namespaces/ns-0/secrets/s-0');
  assert.match(error.remedy!, 'allow the user of the kubeconfig to patch them');
});

test('a list that is forbidden ends it at once', async () => {
  const kubernetes = FakeKubernetes.of(1);
  kubernetes.fault = () => status(403, 'secrets is forbidden');
  const error = await rejectsWithCode(() => rewrite(kubernetes), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(error.message, 'GET /api/v1/secrets: HTTP status 403 secrets is forbidden');
});

test('an answer that is not Kubernetes ends it, and is not shown', async () => {
  const kubernetes = FakeKubernetes.of(1);
  kubernetes.fault = () => ({ status: 200, body: Buffer.from('{"password": 1}'), retryAfterMs: undefined }) as never;
  const error = await rejectsWithCode(() => rewrite(kubernetes), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.not.match(error.message, 'password');
});

test.run();
