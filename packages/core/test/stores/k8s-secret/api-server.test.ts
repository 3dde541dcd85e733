// What an API server may do wrong, and how often it is asked.
import { assertNoSecret, FakeApiServer, json, rejectsWithCode, secretObject, statusObject } from '@teapot-kms/testing';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { KeysetSource } from '../../../src/keyset/keyset-source.ts';
import { formatManifest } from '../../../src/keyset/manifest.ts';
import { k8sSecretProvider } from '../../../src/stores/k8s-secret/index.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';
import { newKeyBytes } from '../../support/keys.ts';
import { manifestOf } from '../../support/manifests.ts';

const test = suite<{ server: FakeApiServer; shared: SharedResources; opened: KeysetSource[] }>('API server');
const KEY = newKeyBytes();
const context = (ms = 5_000) => ({ signal: AbortSignal.timeout(ms) });

const isWatch = (path: string | undefined): boolean => path?.includes('watch=1') ?? false;
const reply = (stream: ServerHttp2Stream, status: number, body: Buffer): void => {
  stream.respond({ ':status': status, 'content-type': 'application/vnd.kubernetes.protobuf' });
  stream.end(body);
};
const keyset = (): Buffer => {
  const manifest = manifestOf('promoted');
  const blobs = { [`${manifest.primary}.key`]: KEY };
  return secretObject({ name: 's', data: { 'keyset.yaml': Buffer.from(formatManifest(manifest)), ...blobs } });
};

test.before.each(async (site) => {
  site.server = await FakeApiServer.start((stream) => reply(stream, 200, keyset()));
  site.shared = new SharedResources();
  site.opened = [];
});
test.after.each(async ({ server, opened }) => {
  for (const source of opened) await source.close?.();
  server.close();
});

function open(
  site: { server: FakeApiServer; shared: SharedResources; opened: KeysetSource[] },
  name = 's',
): KeysetSource {
  const { kubeconfig } = site.server;
  const source = k8sSecretProvider.open(`k8s-secret:ns/${name}`, { kubeconfig, serves: 'unchecked' }, site.shared);
  site.opened.push(source);
  return source;
}

test('the Secret is asked for in protobuf, with the token, and nothing else is asked', async (site) => {
  (await open(site).load(context())).destroy();
  assert.is(site.server.requests.length, 1);
  const [{ accept, authorization, ':path': path }] = site.server.requests as [Record<string, string>];
  assert.equal([accept, authorization], ['application/vnd.kubernetes.protobuf', 'Bearer a-token']);
  assert.is(path, '/api/v1/namespaces/ns/secrets/s');
});

test('a watch asks for metadata only: no key comes over it', async (site) => {
  site.server.answer = (stream) => stream.respond({ ':status': 200 });
  const stop = open(site).watch(() => undefined);
  await untilRequests(site.server, 1);
  stop();
  assert.match(site.server.requests[0]!.accept!, 'as=PartialObjectMetadata');
});

test('a hundred loads at the same time are sixteen at a time, over as few connections as its streams allow', async (site) => {
  let [open_, most] = [0, 0];
  site.server.answer = (stream) => {
    most = Math.max(most, ++open_);
    setTimeout(() => {
      open_--;
      reply(stream, 200, keyset());
    }, 5);
  };
  const sources = Array.from({ length: 100 }, (_, index) => open(site, `s-${String(index)}`));
  for (const loaded of await Promise.all(sources.map((source) => source.load(context())))) loaded.destroy();
  assert.ok(most > 4 && most <= 16, `${String(most)} at a time`);
  // Four streams each; a place may be free a moment before its stream is.
  assert.ok(site.server.connections <= 6, `${String(site.server.connections)} connections`);
});

for (const [what, code, answer] of [
  ['401', 'ERR_KMS_STORE_UNAVAILABLE', (s: ServerHttp2Stream) => reply(s, 401, statusObject('Unauthorized', 'no'))],
  ['429', 'ERR_KMS_STORE_UNAVAILABLE', (s: ServerHttp2Stream) => reply(s, 429, Buffer.from('later'))],
  ['500', 'ERR_KMS_STORE_UNAVAILABLE', (s: ServerHttp2Stream) => reply(s, 500, statusObject('InternalError', 'x'))],
  ["a proxy's 404", 'ERR_KMS_STORE_UNAVAILABLE', (s: ServerHttp2Stream) => reply(s, 404, Buffer.from('<html>'))],
  ["a proxy's 403", 'ERR_KMS_STORE_UNAVAILABLE', (s: ServerHttp2Stream) => reply(s, 403, Buffer.from('denied'))],
  ['a page with status 200', 'ERR_KMS_STORE_UNAVAILABLE', (s: ServerHttp2Stream) => reply(s, 200, Buffer.from('<p>'))],
  ['half an answer', 'ERR_KMS_STORE_UNAVAILABLE', (s: ServerHttp2Stream) => reply(s, 200, keyset().subarray(0, 80))],
] as const) {
  test(`${what} after a good load takes nothing away`, async (site) => {
    const source = open(site);
    (await source.load(context())).destroy();
    site.server.answer = answer;
    const error = await rejectsWithCode(() => source.load(context()), code);
    assertNoSecret(error, KEY);
    assertNoSecret(error, Buffer.from('a-token'));
  });
}

for (const [status, reason] of [
  [404, 'NotFound'],
  [403, 'Forbidden'],
] as const) {
  const refuse = (ready: number) => (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) =>
    headers[':path'] === '/readyz' ? json(stream, ready, {}) : reply(stream, status, statusObject(reason, 'no'));

  test(`${reason} is certain after a good load, from an API server that is ready`, async (site) => {
    const source = open(site);
    (await source.load(context())).destroy();
    site.server.answer = refuse(200);
    await rejectsWithCode(() => source.load(context()), 'ERR_KMS_KEY_GONE');
  });

  test(`${reason} of an API server that starts is not certain`, async (site) => {
    const source = open(site);
    (await source.load(context())).destroy();
    for (const ready of [500, 403]) {
      site.server.answer = refuse(ready);
      const error = await source.load(context()).then(
        () => undefined,
        (reason: unknown) => reason as { code: string },
      );
      assert.is.not(error?.code, 'ERR_KMS_KEY_GONE');
    }
  });

  test(`${reason} before anything was loaded is not a loss`, async (site) => {
    site.server.answer = refuse(200);
    await rejectsWithCode(() => open(site).load(context()), 'ERR_KMS_STORE_UNAVAILABLE');
  });
}

test('an API server that does not answer is given up with the load, and its place is free', async (site) => {
  site.server.answer = () => undefined;
  const source = open(site);
  // Those without a place give up first: at the same moment one might get a place, for which the server is not ready yet.
  const hanging = Array.from({ length: 20 }, (_, index) =>
    rejectsWithCode(() => source.load(context(index < 16 ? 400 : 200)), 'ERR_KMS_DEADLINE_EXCEEDED'),
  );
  await Promise.all(hanging);
  site.server.answer = (stream) => reply(stream, 200, keyset());
  (await source.load(context())).destroy();
});

test('watches that do not begin hold up no load', async (site) => {
  site.server.answer = (stream, { ':path': path }) => {
    if (!isWatch(path)) reply(stream, 200, keyset());
  };
  for (let index = 0; index < 40; index++) open(site, `s-${String(index)}`).watch(() => undefined);
  await untilRequests(site.server, 8);
  (await open(site).load(context(1_000))).destroy();
  assert.is(site.server.requests.filter((request) => isWatch(request[':path'])).length, 8);
});

test('while nobody listens, a hundred loads are one try, and half a second without another', async (site) => {
  const source = open(site);
  site.server.close();
  const started = performance.now();
  for (let round = 0; round < 3; round++) {
    await Promise.all(
      Array.from({ length: 100 }, () => rejectsWithCode(() => source.load(context()), 'ERR_KMS_STORE_UNAVAILABLE')),
    );
  }
  assert.ok(performance.now() - started < 400, 'they fail at once');
});

test('a token that is refused is read anew from its file, and the request sent once more', async (site) => {
  const tokenFile = site.server.path('token');
  writeFileSync(tokenFile, 'old\n');
  site.server.writeKubeconfig({ tokenFile: 'token' });
  site.server.answer = (stream, { authorization }) =>
    authorization === 'Bearer new'
      ? reply(stream, 200, keyset())
      : reply(stream, 401, statusObject('Unauthorized', ''));
  const source = open(site);
  await rejectsWithCode(() => source.load(context()), 'ERR_KMS_STORE_UNAVAILABLE');
  writeFileSync(tokenFile, 'new\n');
  await sleep(1_100);
  (await source.load(context())).destroy();
});

test('credentials that have changed take another connection', async (site) => {
  const source = open(site);
  (await source.load(context())).destroy();
  site.server.answer = (stream, { authorization }) =>
    authorization === 'Bearer b' ? reply(stream, 200, keyset()) : reply(stream, 401, statusObject('Unauthorized', ''));
  site.server.writeKubeconfig(
    { token: 'b' },
    { 'certificate-authority-data': Buffer.from('another').toString('base64') },
  );
  await sleep(1_100);
  (await source.load(context())).destroy();
  assert.is(site.server.connections, 2);
  await sleep(50);
  assert.is(site.server.sessions.size, 1, 'the first one is closed');
});

for (const [what, cluster] of [
  ['insecure-skip-tls-verify', { server: 'https://127.0.0.1:1', 'insecure-skip-tls-verify': true }],
  ['is not https', { server: 'http://192.0.2.1', 'insecure-skip-tls-verify': true }],
  ['proxy-url', { 'proxy-url': 'http://127.0.0.1:1' }],
] as const) {
  test(`a kubeconfig with a cluster that ${what} is refused`, async (site) => {
    site.server.writeKubeconfig({ token: 'x' }, cluster);
    const error = await rejectsWithCode(() => open(site).load(context()), 'ERR_KMS_INVALID_URI');
    assert.match(error.message, what);
    assert.is(site.server.connections, 0);
  });
}

/** A watch event as kube-apiserver writes it. */
const event = (type: string, resourceVersion: string): string =>
  `${JSON.stringify({ type, object: { metadata: { resourceVersion } } })}\n`;

async function untilRequests(server: FakeApiServer, count: number, withinMs = 10_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (server.requests.length < count) {
    assert.ok(performance.now() < deadline, `${String(server.requests.length)} requests instead of ${String(count)}`);
    await sleep(10);
  }
}

test('an event is a hint unless it is of the version that was loaded; lines may come in pieces', async (site) => {
  let watching: ServerHttp2Stream | undefined;
  site.server.answer = (stream, { ':path': path }) => {
    if (!isWatch(path)) return reply(stream, 200, keyset());
    watching = stream;
    stream.respond({ ':status': 200 });
    stream.write(event('ADDED', '42'));
  };
  const source = open(site);
  (await source.load(context())).destroy();
  let hints = 0;
  const stop = source.watch(() => hints++);
  await untilRequests(site.server, 2);
  await sleep(50);
  assert.is(hints, 0, 'what is loaded already');
  const text = event('MODIFIED', '43');
  watching!.write(text.slice(0, 20));
  await sleep(20);
  watching!.write(text.slice(20) + event('BOOKMARK', '44') + event('DELETED', '45'));
  await sleep(50);
  assert.is(hints, 2);
  stop();
});

for (const [what, end] of [
  [
    '410 Gone',
    (stream: ServerHttp2Stream) => stream.end('{"type":"ERROR","object":{"code":410,"reason":"Expired"}}\n'),
  ],
  ['an event that is no JSON', (stream: ServerHttp2Stream) => stream.end('oops\n')],
  ['its end', (stream: ServerHttp2Stream) => stream.end()],
  ['a cut connection', (stream: ServerHttp2Stream) => stream.session?.destroy()],
  ['a GOAWAY', (stream: ServerHttp2Stream) => stream.session?.close()],
] as const) {
  test(`after ${what} a watch begins anew, later each time, never in a tight loop`, async (site) => {
    site.server.answer = (stream) => {
      stream.respond({ ':status': 200 });
      stream.write(event('ADDED', '43'));
      end(stream);
      if (what === 'a GOAWAY') stream.end();
    };
    let hints = 0;
    const stop = open(site).watch(() => hints++);
    await untilRequests(site.server, 2);
    await sleep(1_000);
    stop();
    const after = site.server.requests.length;
    assert.ok(after <= 4, `${String(after)} watches in a second or two`);
    await sleep(300);
    assert.is(site.server.requests.length, after, 'none after its end');
    if (what !== 'a cut connection') assert.ok(hints > 0);
  });
}

test('hundreds of watches that are cut at once come back spread over time', async (site) => {
  const times: number[] = [];
  site.server.answer = (stream) => {
    times.push(performance.now());
    stream.respond({ ':status': 200 });
  };
  const stops = Array.from({ length: 120 }, (_, index) => open(site, `s-${String(index)}`).watch(() => undefined));
  await untilRequests(site.server, 120);
  const cutAt = performance.now();
  site.server.cut();
  await untilRequests(site.server, 240);
  for (const stop of stops) stop();
  const again = times.slice(120).map((time) => time - cutAt);
  const tenths = new Set(again.map((ms) => Math.floor(ms / 100)));
  assert.ok(tenths.size >= 5, `all within ${String(tenths.size)} tenths of a second`);
});

test('a source that is closed ends its watches and its connections', async (site) => {
  site.server.answer = (stream) => stream.respond({ ':status': 200 });
  const source = open(site);
  source.watch(() => undefined);
  await untilRequests(site.server, 1);
  await source.close?.();
  await sleep(50);
  assert.is(site.server.sessions.size, 0);
  assert.is(site.shared.size, 0);
  await rejectsWithCode(() => source.load(context()), 'ERR_KMS_CLOSED');
});

test.run();
