// What an API server may do wrong, and how often it is asked. The clock moves only when a test moves it.
import {
  assertNoSecret,
  FakeApiServer,
  FakeClock,
  json,
  newDirectory,
  rejectsWithCode,
  secretObject,
  settle,
  statusObject,
  until,
} from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { KeysetSource } from '../../../src/keyset/keyset-source.ts';
import { formatManifest } from '../../../src/keyset/manifest.ts';
import { RESTORE_KEYSET } from '../../../src/keyset/restoring.ts';
import { ApiServer } from '../../../src/stores/k8s-secret/api-server.ts';
import { authorityHashes } from '../../../src/stores/k8s-secret/guard.ts';
import { k8sSecretProvider } from '../../../src/stores/k8s-secret/index.ts';
import { GRANT_ROLE } from '../../../src/stores/k8s-secret/remedies.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';
import { impatient, patient } from '../../support/context.ts';
import { newKeyBytes } from '../../support/keys.ts';
import { manifestOf } from '../../support/manifests.ts';

/** A self-signed certificate for 127.0.0.1, and its key. */
function newAuthority(name: string): { readonly cert: Buffer; readonly key: Buffer } {
  const directory = newDirectory();
  const [cert, key] = [join(directory, 'crt'), join(directory, 'key')];
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert];
  const kind = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  execFileSync('openssl', [...kind, ...subject], { stdio: 'ignore' });
  return { cert: readFileSync(cert), key: readFileSync(key) };
}

interface Site {
  server: FakeApiServer;
  clock: FakeClock;
  shared: SharedResources;
  opened: KeysetSource[];
}

const test = suite<Site>('API server');
const KEY = newKeyBytes();

const isWatch = (path: string | undefined): boolean => path?.includes('watch=1') ?? false;
const reply = (stream: ServerHttp2Stream, status: number, body: Buffer): void => {
  stream.respond({ ':status': status, 'content-type': 'application/vnd.kubernetes.protobuf' });
  stream.end(body);
};
const keyset = (name = 's'): Buffer => {
  const manifest = manifestOf('promoted');
  const blobs = { [`${manifest.primary}.key`]: KEY };
  return secretObject({ name, data: { 'keyset.yaml': Buffer.from(formatManifest(manifest)), ...blobs } });
};
const replyKeyset = (stream: ServerHttp2Stream, { ':path': path }: IncomingHttpHeaders): void =>
  reply(stream, 200, keyset(path?.split('/').at(-1)));

test.before.each(async (site) => {
  site.server = await FakeApiServer.start(replyKeyset);
  site.clock = new FakeClock();
  site.shared = new SharedResources(undefined, site.clock);
  site.opened = [];
});
test.after.each(async ({ server, opened }) => {
  for (const source of opened) await source.close?.();
  server.close();
});

function open(site: Site, name = 's'): KeysetSource {
  const { kubeconfig } = site.server;
  const source = k8sSecretProvider.open(`k8s-secret:ns/${name}`, { kubeconfig, serves: 'unchecked' }, site.shared);
  site.opened.push(source);
  return source;
}

const load = async (source: KeysetSource): Promise<void> => (await source.load(patient)).destroy();

const untilRequests = ({ server }: Site, count: number): Promise<true> =>
  until(`there are ${count} requests`, () => server.requests.length >= count, { everyMs: 5 });

/** Moves the clock on in small steps until there are so many requests. */
const advanceUntilRequests = ({ server, clock }: Site, count: number): Promise<true> =>
  until(
    `there are ${count} requests`,
    async () => {
      await clock.advance(20);
      return server.requests.length >= count;
    },
    { everyMs: 1 },
  );

test('the Secret is asked for in protobuf, with the token, and nothing else is asked', async (site) => {
  await load(open(site));
  assert.is(site.server.requests.length, 1);
  const [{ accept, authorization, ':path': path }] = site.server.requests as [Record<string, string>];
  assert.equal([accept, authorization], ['application/vnd.kubernetes.protobuf', 'Bearer a-token']);
  assert.is(path, '/api/v1/namespaces/ns/secrets/s');
});

test('a watch asks for metadata only: no key comes over it', async (site) => {
  site.server.answer = (stream) => stream.respond({ ':status': 200 });
  const stop = open(site).watch(() => undefined);
  await untilRequests(site, 1);
  stop();
  assert.match(site.server.requests[0]!.accept!, 'as=PartialObjectMetadata');
});

test('a hundred loads at the same time are sixteen at a time, over as few connections as its streams allow', async (site) => {
  let [open_, most] = [0, 0];
  site.server.answer = (stream, headers) => {
    most = Math.max(most, ++open_);
    setTimeout(() => {
      open_--;
      replyKeyset(stream, headers);
    }, 5);
  };
  const sources = Array.from({ length: 100 }, (_, index) => open(site, `s-${String(index)}`));
  for (const loaded of await Promise.all(sources.map((source) => source.load(patient)))) loaded.destroy();
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
    await load(source);
    site.server.answer = answer;
    const error = await rejectsWithCode(() => source.load(patient), code);
    assertNoSecret(error, KEY);
    assertNoSecret(error, Buffer.from('a-token'));
  });
}

for (const [status, reason, remedy] of [
  [404, 'NotFound', RESTORE_KEYSET],
  [403, 'Forbidden', GRANT_ROLE],
] as const) {
  const refuse = (ready: number) => (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) =>
    headers[':path'] === '/readyz' ? json(stream, ready, {}) : reply(stream, status, statusObject(reason, 'no'));

  test(`${reason} is certain after a good load, from an API server that is ready, and says what to do`, async (site) => {
    const source = open(site);
    await load(source);
    site.server.answer = refuse(200);
    const error = await rejectsWithCode(() => source.load(patient), 'ERR_KMS_KEY_GONE');
    assert.is(error.remedy, remedy);
  });

  test(`${reason} of an API server that starts is not certain`, async (site) => {
    const source = open(site);
    await load(source);
    for (const ready of [500, 403]) {
      site.server.answer = refuse(ready);
      const error = await source.load(patient).then(
        () => undefined,
        (reason: unknown) => reason as { code: string },
      );
      assert.is.not(error?.code, 'ERR_KMS_KEY_GONE');
    }
  });

  test(`${reason} before anything was loaded is not a loss`, async (site) => {
    site.server.answer = refuse(200);
    await rejectsWithCode(() => open(site).load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
  });
}

test('a load that is given up ends its stream, and frees its place', async (site) => {
  let ended = 0;
  site.server.answer = (stream) => stream.on('close', () => ended++);
  const calls = Array.from({ length: 20 }, impatient);
  const hanging = calls.map(({ signal }) => rejectsWithCode(() => open(site).load({ signal }), 'ERR_KMS_CANCELLED'));
  await untilRequests(site, 16);
  // The last four wait for a place.
  for (const { giveUp } of calls.toReversed()) giveUp();
  await Promise.all(hanging);
  await until('the API server knows', () => ended === 16, { everyMs: 5 });
  site.server.answer = replyKeyset;
  await load(open(site));
});

test('an answer that does not begin is given up after a while', async (site) => {
  site.server.answer = () => undefined;
  const loading = rejectsWithCode(() => open(site).load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await untilRequests(site, 1);
  await site.clock.advance(10_000);
  assert.match((await loading).message, 'did not answer within');
});

test('watches that do not begin hold up no load', async (site) => {
  site.server.answer = (stream, headers) => {
    if (!isWatch(headers[':path'])) replyKeyset(stream, headers);
  };
  for (let index = 0; index < 40; index++) open(site, `s-${String(index)}`).watch(() => undefined);
  await untilRequests(site, 8);
  await load(open(site));
  assert.is(site.server.requests.filter((request) => isWatch(request[':path'])).length, 8);
});

test('while connections fail, a hundred loads make one, and half a second passes before the next', async (site) => {
  const source = open(site);
  site.server.refuse();
  const hundred = () =>
    Promise.all(
      Array.from({ length: 100 }, () => rejectsWithCode(() => source.load(patient), 'ERR_KMS_STORE_UNAVAILABLE')),
    );
  for (let round = 0; round < 3; round++) await hundred();
  assert.is(site.server.connections, 1);
  await site.clock.advance(500);
  await hundred();
  assert.is(site.server.connections, 2);
});

test('a connection that ends without an answer counts as one that failed', async (site) => {
  const source = open(site);
  site.server.answer = (stream) => stream.session?.destroy();
  for (let round = 0; round < 5; round++) {
    await rejectsWithCode(() => source.load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
    await until('it is closed', () => site.server.sessions.size === 0, { everyMs: 5 });
  }
  assert.is(site.server.connections, 1);
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
  await rejectsWithCode(() => source.load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
  writeFileSync(tokenFile, 'new\n');
  await site.clock.advance(1_000);
  await load(source);
});

test('a token that the API server repeats in an error is in no message', async (site) => {
  site.server.writeKubeconfig({ token: 'hunter2-hunter2' });
  site.server.answer = (stream) => reply(stream, 403, statusObject('Forbidden', 'no hunter2-hunter2 here'));
  const { message } = await rejectsWithCode(() => open(site).load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(message, /no \*{15} here/);
});

test('a token that is refused and is the same when it is read anew is not sent again', async (site) => {
  const source = open(site);
  await load(source);
  site.server.answer = (stream) => reply(stream, 401, statusObject('Unauthorized', ''));
  await site.clock.advance(1_000);
  await rejectsWithCode(() => source.load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(site.server.requests.length, 2);
});

test('the guard holds for the cluster that answered, also where the kubeconfig has changed during the request', async (site) => {
  const [served, other] = [newAuthority('served'), newAuthority('other')];
  const writeKubeconfig = (token: string, { cert }: { cert: Buffer }): void =>
    site.server.writeKubeconfig({ token }, { 'certificate-authority-data': cert.toString('base64') });
  writeKubeconfig('a', other);
  const { kubeconfig } = site.server;
  const [serves] = authorityHashes(served.cert);
  const source = k8sSecretProvider.open('k8s-secret:ns/s', { kubeconfig, serves: serves! }, site.shared);
  site.opened.push(source);
  await load(source);
  await site.clock.advance(1_000);
  site.server.answer = (stream, { authorization }) => {
    if (authorization === 'Bearer b') return reply(stream, 200, keyset());
    writeKubeconfig('b', served);
    reply(stream, 401, statusObject('Unauthorized', ''));
  };
  const { message } = await rejectsWithCode(() => source.load(patient), 'ERR_KMS_INVALID_URI');
  assert.match(message, 'encrypted by itself');
  assert.is(site.server.requests.at(-1)!.authorization, 'Bearer b');
});

test('credentials that have changed take another connection', async (site) => {
  const source = open(site);
  await load(source);
  site.server.answer = (stream, { authorization }) =>
    authorization === 'Bearer b' ? reply(stream, 200, keyset()) : reply(stream, 401, statusObject('Unauthorized', ''));
  site.server.writeKubeconfig(
    { token: 'b' },
    { 'certificate-authority-data': Buffer.from('another').toString('base64') },
  );
  await site.clock.advance(1_000);
  await load(source);
  assert.is(site.server.connections, 2);
  await until('the first one is closed', () => site.server.sessions.size === 1, { everyMs: 5 });
});

for (const [what, cluster] of [
  ['insecure-skip-tls-verify', { server: 'https://127.0.0.1:1', 'insecure-skip-tls-verify': true }],
  ['not https', { server: 'http://192.0.2.1', 'insecure-skip-tls-verify': true }],
  ['proxy-url', { 'proxy-url': 'socks5://127.0.0.1:1' }],
  ['a user', { server: 'https://hunter2@127.0.0.1:1', 'insecure-skip-tls-verify': false }],
  ['a password', { server: 'https://:hunter2@127.0.0.1:1', 'insecure-skip-tls-verify': false }],
  ['a query', { server: 'https://127.0.0.1:1/?token=hunter2', 'insecure-skip-tls-verify': false }],
  ['a fragment', { server: 'https://127.0.0.1:1/#hunter2', 'insecure-skip-tls-verify': false }],
] as const) {
  test(`a kubeconfig with a cluster of this kind is refused: ${what}`, async (site) => {
    site.server.writeKubeconfig({ token: 'x' }, cluster);
    const error = await rejectsWithCode(() => open(site).load(patient), 'ERR_KMS_INVALID_URI');
    assert.match(error.message, what);
    assertNoSecret(error, Buffer.from('hunter2'));
    assert.is(site.server.connections, 0);
  });
}

/** A watch event as kube-apiserver writes it. */
const event = (type: string, resourceVersion: string, of = { name: 's', namespace: 'ns' }): string =>
  `${JSON.stringify({ type, object: { metadata: { ...of, resourceVersion } } })}\n`;

test('an event is a hint unless it is of the version that was loaded; lines may come in pieces', async (site) => {
  let watching: ServerHttp2Stream | undefined;
  site.server.answer = (stream, { ':path': path }) => {
    if (!isWatch(path)) return reply(stream, 200, keyset());
    watching = stream;
    stream.respond({ ':status': 200 });
    stream.write(event('ADDED', '42'));
  };
  const source = open(site);
  await load(source);
  const hints: string[] = [];
  const stop = source.watch(() => hints.push('hint'));
  await untilRequests(site, 2);
  const seen = (what: string, count: number) =>
    until(
      what,
      async () => {
        // Between two pieces the watch pauses.
        await site.clock.advance(100);
        return hints.length >= count;
      },
      { everyMs: 5 },
    );
  const text = event('MODIFIED', '43');
  watching!.write(text.slice(0, 20));
  await settle();
  watching!.write(text.slice(20));
  await seen('the change', 1);
  watching!.write(event('MODIFIED', '44') + event('DELETED', '45'));
  await seen('the deletion', 2);
  assert.is(hints.length, 2, 'not the version that is loaded');
  stop();
});

test('of a flood of events, only the last one of each piece is looked at, ten times a second at most', async (site) => {
  site.server.answer = (stream) => {
    stream.respond({ ':status': 200 });
    for (let version = 43; version < 20_000; version++) stream.write(event('MODIFIED', String(version)));
  };
  const hints: number[] = [];
  const stop = open(site).watch(() => hints.push(site.clock.now()));
  await until('the first hint', () => hints.length > 0, { everyMs: 5 });
  for (let second = 0; second < 3; second++) await site.clock.advance(1_000);
  assert.ok(hints.length <= 31, `${hints.length} hints in 3 s`);
  stop();
});

test('a line of a watch that does not end, ends the watch: at most 512 KiB of it are kept', async (site) => {
  let sent = 0;
  site.server.answer = (stream) => {
    stream.respond({ ':status': 200 });
    const piece = Buffer.alloc(16_384, 'x');
    const more = (): void => {
      for (let room = true; room && !stream.destroyed && sent < 64 * 1024 * 1024;) {
        sent += piece.length;
        room = stream.write(piece);
      }
    };
    stream.on('drain', more);
    more();
  };
  const stop = open(site).watch(() => assert.unreachable('no event'));
  await advanceUntilRequests(site, 2);
  stop();
  assert.ok(sent < 8 * 1024 * 1024, `${sent} bytes were taken`);
});

for (const [what, of] of [
  ['name', { name: 'another', namespace: 'ns' }],
  ['namespace', { name: 's', namespace: 'another' }],
] as const) {
  test(`an event of another ${what} is no hint, and ends the watch: another one follows`, async (site) => {
    let first: ServerHttp2Stream | undefined;
    site.server.answer = (stream) => {
      stream.respond({ ':status': 200 });
      if (first) return void stream.write(event('MODIFIED', '44'));
      first = stream;
      stream.write(event('MODIFIED', '43', of));
    };
    const hints: string[] = [];
    const stop = open(site).watch(() => hints.push('hint'));
    await until('the watch has ended', () => first?.closed ?? false, { everyMs: 5 });
    assert.equal(hints, []);
    await advanceUntilRequests(site, 2);
    await until('the next one is read', () => hints.length === 1, { everyMs: 5 });
    stop();
  });
}

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
  test(`after ${what} a watch begins again, later each time`, async (site) => {
    const times: number[] = [];
    site.server.answer = (stream) => {
      times.push(site.clock.now());
      stream.respond({ ':status': 200 });
      stream.write(event('ADDED', '43'));
      end(stream);
      if (what === 'a GOAWAY') stream.end();
    };
    const stop = open(site).watch(() => undefined);
    await untilRequests(site, 1);
    await advanceUntilRequests(site, 3);
    const [first = 0, second = 0, third = 0] = times;
    assert.ok(second - first >= 375, `${second - first} ms until the second`);
    assert.ok(third - second >= 750, `${third - second} ms until the third`);
    stop();
    await settle();
    const pending = site.clock.pending;
    await site.clock.advance(60_000);
    assert.is(site.server.requests.length, 3, `none after its end (${pending} timers)`);
  });
}

test('hundreds of watches that are cut at once come back spread over time', async (site) => {
  const times: number[] = [];
  site.server.answer = (stream) => {
    times.push(site.clock.now());
    stream.respond({ ':status': 200 });
  };
  const stops = Array.from({ length: 120 }, (_, index) => open(site, `s-${String(index)}`).watch(() => undefined));
  await untilRequests(site, 120);
  site.server.cut();
  await advanceUntilRequests(site, 240);
  for (const stop of stops) stop();
  assert.ok(new Set(times.slice(120)).size >= 5, 'all within 100 ms');
});

test('a source that is closed ends its watches and its connections', async (site) => {
  site.server.answer = (stream) => stream.respond({ ':status': 200 });
  const source = open(site);
  source.watch(() => undefined);
  await untilRequests(site, 1);
  await source.close?.();
  await until('its connection is closed', () => site.server.sessions.size === 0, { everyMs: 5 });
  assert.is(site.shared.size, 0);
  await rejectsWithCode(() => source.load(patient), 'ERR_KMS_CLOSED');
});

test("another API server's 404 takes nothing away: it is not where the keyset came from", async (site) => {
  const source = open(site);
  await load(source);
  const other = await FakeApiServer.start((stream, { ':path': path }) =>
    path === '/readyz' ? json(stream, 200, {}) : reply(stream, 404, statusObject('NotFound', 'no')),
  );
  site.server.writeKubeconfig({ token: 'a-token' }, { server: other.url });
  await site.clock.advance(60_000);
  const error = await rejectsWithCode(() => source.load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, other.url);
  other.close();
});

test('an API server that moves is followed: its new address is read when the old one fails', async (site) => {
  const source = open(site);
  await load(source);
  const moved = await FakeApiServer.start(replyKeyset);
  site.server.writeKubeconfig({ token: 'a-token' }, { server: moved.url });
  site.server.refuse();
  site.server.cut();
  await site.clock.advance(1_000);
  await rejectsWithCode(() => source.load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await load(source);
  moved.close();
});

test('proxy-url: connections go through the proxy, with its login', async (site) => {
  const seen: (string | undefined)[] = [];
  const proxy = createServer().on('connect', ({ url, headers }, client) => {
    seen.push(url, headers['proxy-authorization']);
    client.write('HTTP/1.1 200 OK\r\n\r\n');
    const target = connect(Number(new URL(site.server.url).port), '127.0.0.1');
    client.pipe(target).pipe(client);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const { port } = proxy.address() as AddressInfo;
  site.server.writeKubeconfig({ token: 'a-token' }, { 'proxy-url': `http://user:word@127.0.0.1:${port}` });
  await load(open(site));
  assert.equal(seen, [new URL(site.server.url).host, `Basic ${Buffer.from('user:word').toString('base64')}`]);
  proxy.close();
});

test('a proxy that refuses is named, without its login', async (site) => {
  const proxy = createServer().on('connect', (_, client) => client.end('HTTP/1.1 407 Login\r\n\r\n'));
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const { port } = proxy.address() as AddressInfo;
  site.server.writeKubeconfig({ token: 'a-token' }, { 'proxy-url': `http://user:pass-word@127.0.0.1:${port}` });
  const error = await rejectsWithCode(() => open(site).load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, 'HTTP status 407');
  assertNoSecret(error, Buffer.from('pass-word'));
  proxy.close();
});

test('an https proxy must be trusted by the authority of the cluster, whatever the environment says', async (site) => {
  const [own, other] = [newAuthority('127.0.0.1'), newAuthority('other')];
  const proxy = createTlsServer(own).on('connect', (_, client) => {
    client.write('HTTP/1.1 200 OK\r\n\r\n');
    const target = connect(Number(new URL(site.server.url).port), '127.0.0.1');
    client.pipe(target).pipe(client);
    client.on('error', () => target.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const { port } = proxy.address() as AddressInfo;
  const trust = ({ cert }: { cert: Buffer }): void => {
    const ca = { 'certificate-authority-data': cert.toString('base64') };
    site.server.writeKubeconfig({ token: 'a-token' }, { 'proxy-url': `https://127.0.0.1:${port}`, ...ca });
  };
  trust(own);
  const source = open(site);
  await load(source);
  trust(other);
  await site.clock.advance(60_000);
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
  try {
    await rejectsWithCode(() => source.load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
  } finally {
    delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
  }
  proxy.close();
});

for (const [text, expected] of [
  ['7', 7_000],
  ['Wed, 21 Oct 2026 07:28:00 GMT', undefined],
  [undefined, undefined],
] as const) {
  test(`an answer with Retry-After ${text ?? 'missing'}`, async ({ server, shared }) => {
    server.answer = (stream) => {
      stream.respond({ ':status': 429, ...(text !== undefined && { 'retry-after': text }) });
      stream.end('{}');
    };
    const lease = ApiServer.acquire(shared, { kubeconfig: server.kubeconfig });
    const { status, retryAfterMs } = await lease.resource.request({ method: 'GET', path: '/api', accept: '*/*' });
    assert.equal([status, retryAfterMs], [429, expected]);
    await lease.release();
  });
}

test.run();
