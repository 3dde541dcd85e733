import { execFile, execFileSync } from 'node:child_process';
import { HttpProxy } from '@teapot-kms/testing/daemons';
import type { HttpFault } from '@teapot-kms/testing/daemons';
import { assertNoSecret, newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, LookupFunction } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HurriedClock } from '../../../support/random-answers.ts';
import { HttpClient } from '../../../../src/stores/barbican/keystone/http.ts';

const body = 'x'.repeat(64);
const real = createServer((request, response) => void request.resume().on('end', () => response.end(body)));
await new Promise<void>((resolve) => real.listen(0, '127.0.0.1', resolve));
const { port } = real.address() as { port: number };
const proxy = await HttpProxy.start(`http://127.0.0.1:${String(port)}`);
const client = new HttpClient();

test.before.each(() => {
  proxy.fault = () => undefined;
  proxy.requests.length = 0;
});
test.after(async () => {
  client.close();
  await proxy.close();
  real.close();
});

const TOKEN = 'a-token-that-nobody-may-see';
const send = (method: 'GET' | 'POST' | 'DELETE' = 'GET', ms = 60_000, url = proxy.url) =>
  client.send({
    method,
    url,
    headers: { 'x-auth-token': TOKEN },
    ...(method === 'POST' && { body: Buffer.from('{}') }),
    tls: {},
    secrets: [TOKEN],
    signal: AbortSignal.timeout(ms),
  });
/** The first `count` requests have this fault. */
const failing = (count: number, fault: HttpFault) => {
  proxy.fault = () => (proxy.requests.length <= count ? fault : undefined);
};

for (const method of ['GET', 'POST', 'DELETE'] as const) {
  test(`${method} gets its answer`, async () => {
    const answer = await send(method);
    assert.is(answer.status, 200);
    assert.is(answer.body.toString(), body);
  });
}

for (const [what, fault] of [
  ['a reset', 'reset'],
  ['a 503', { status: 503 }],
  ['a 500 in HTML', { status: 500, body: '<html>' }],
  ['a 429', { status: 429 }],
] as const) {
  test(`a read is sent again after ${what}`, async () => {
    failing(2, fault);
    assert.is((await send()).status, 200);
    assert.is(proxy.requests.length, 3);
  });
}

test('a read is not sent without end', async () => {
  failing(99, { status: 503 });
  assert.is((await send()).status, 503);
  assert.is(proxy.requests.length, 3);
});

test('what changes something is not sent again once it may have arrived', async () => {
  failing(1, 'reset');
  await rejectsWithCode(() => send('POST'), 'ERR_KMS_STORE_UNAVAILABLE');
  failing(2, { status: 503 });
  assert.is((await send('POST')).status, 503);
  assert.is(proxy.requests.length, 2);
});

test('where nobody listens the error says so, and holds no token', async () => {
  const error = await rejectsWithCode(() => send('POST', 60_000, 'http://127.0.0.1:1/'), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(error.message, 'http://127.0.0.1:1: nothing listens there');
  assertNoSecret(error, Buffer.from(TOKEN));
});

test('a name that does not exist is named', async () => {
  let lookups = 0;
  const lookup: LookupFunction = (name, _options, callback) => {
    lookups++;
    callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: 'ENOTFOUND' }), '');
  };
  const elsewhere = new HttpClient(new HurriedClock(), {}, lookup);
  const request = { method: 'GET', url: 'http://nowhere.invalid/', tls: {}, secrets: [], signal: soon() } as const;
  const error = await rejectsWithCode(() => elsewhere.send(request), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, 'its name cannot be looked up');
  assert.is(lookups, 3);
  elsewhere.close();
});

for (const [what, fault] of [
  ['no answer at all', 'hang'],
  ['a body that comes byte by byte', { trickleMs: 100 }],
] as const) {
  test(`${what} ends with the caller's deadline`, async () => {
    failing(99, fault);
    await rejectsWithCode(() => send('GET', 300), 'ERR_KMS_DEADLINE_EXCEEDED');
  });
}

test('a redirect is an answer like any other, and nothing is sent after it', async () => {
  failing(99, { status: 307, headers: { location: `${proxy.url}/elsewhere` } });
  assert.is((await send('GET', 60_000, `${proxy.url}/here`)).status, 307);
  // Beside it may be the aborted request of the test before, which arrives when it likes.
  const paths = proxy.requests.map(({ path }) => path);
  assert.is(paths.filter((path) => path === '/here').length, 1);
  assert.not.ok(paths.includes('/elsewhere'));
});

test('an answer without an end is cut off', async () => {
  failing(99, { status: 200, body: 'y'.repeat(2_000_000) });
  const error = await rejectsWithCode(() => send(), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, 'too long');
});

test('a file of certificates that is not there is named, and nothing is sent', async () => {
  const request = {
    method: 'GET',
    url: 'https://127.0.0.1:1/',
    secrets: [],
    signal: AbortSignal.timeout(60_000),
  } as const;
  const error = await rejectsWithCode(
    () => client.send({ ...request, tls: { caFile: '/nowhere/ca.pem' } }),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.is(error.message, '/nowhere/ca.pem: no such file');
});

test('https to a server that speaks http is named', async () => {
  const error = await rejectsWithCode(
    () => send('GET', 60_000, proxy.url.replace('http:', 'https:')),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(error.message, 'does not speak TLS');
});

test('NODE_TLS_REJECT_UNAUTHORIZED=0 does not make an unknown certificate a good one', async () => {
  const directory = newDirectory();
  const [certFile, keyFile] = [join(directory, 'crt'), join(directory, 'key')];
  const kind = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=x'];
  execFileSync('openssl', [...kind, '-keyout', keyFile, '-out', certFile], { stdio: 'ignore' });
  const server = createTlsServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) });
  let requests = 0;
  server.on('request', (_, response) => {
    requests++;
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
  try {
    const url = `https://127.0.0.1:${String((server.address() as AddressInfo).port)}/`;
    const error = await rejectsWithCode(() => send('GET', 60_000, url), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, 'the authority of its certificate is not known here');
    assert.is(requests, 0);
  } finally {
    delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    server.close();
  }
});

/** A proxy that notes what it is asked for. */
async function startProxy(): Promise<{ asked: string[]; url: string; stop: () => void }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method ?? ''} ${request.url ?? ''}`);
    response.end('through the proxy');
  }).on('connect', ({ url, headers }, socket) => {
    asked.push(`CONNECT ${url ?? ''} ${headers['proxy-authorization'] ?? ''}`);
    socket.end('HTTP/1.1 403 no\r\n\r\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    asked,
    url: `http://user:hunter2@127.0.0.1:${port}`,
    stop: () => void (server.closeAllConnections(), server.close()),
  };
}

const request = { method: 'GET', tls: {}, secrets: [] } as const;
const soon = () => AbortSignal.timeout(60_000);

test('HTTP_PROXY is used, but not for this host nor for a host in NO_PROXY', async () => {
  const { asked, url, stop } = await startProxy();
  const proxied = new HttpClient(undefined, { HTTP_PROXY: url, NO_PROXY: '.invalid' });
  const answer = await proxied.send({ ...request, url: 'http://keystone.example/v3', signal: soon() });
  assert.is(answer.body.toString(), 'through the proxy');
  assert.is((await proxied.send({ ...request, url: proxy.url, signal: soon() })).body.toString(), body);
  await rejectsWithCode(
    () => proxied.send({ ...request, url: 'http://keystone.invalid/', signal: soon() }),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.equal(asked, ['GET http://keystone.example/v3']);
  proxied.close();
  stop();
});

test('a proxy that refuses is named, without its login', async () => {
  const { asked, url, stop } = await startProxy();
  const proxied = new HttpClient(undefined, { https_proxy: url });
  const error = await rejectsWithCode(
    () => proxied.send({ ...request, url: 'https://keystone.example/v3', signal: soon() }),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(error.message, 'the proxy of HTTPS_PROXY or HTTP_PROXY refuses it');
  assertNoSecret(error, Buffer.from('hunter2'));
  assert.equal(asked, [`CONNECT keystone.example:443 Basic ${Buffer.from('user:hunter2').toString('base64')}`]);
  proxied.close();
  stop();
});

test("without caFile, an authority of the host's store is trusted", async () => {
  const directory = newDirectory();
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, ...names], {
    stdio: 'ignore',
  });
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, response) =>
    response.end('x'),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const program = `import { HttpClient } from '${import.meta.resolve('../../../../src/stores/barbican/keystone/http.ts')}';
    const client = new HttpClient();
    const request = { method: 'GET', url: 'https://localhost:${port}', tls: {}, secrets: [], signal: AbortSignal.timeout(20_000) };
    console.log((await client.send(request)).status);
    client.close();`;
  const run = promisify(execFile);
  const args = ['--conditions=teapot-source', '--input-type=module', '-e', program];
  const { stdout } = await run(process.execPath, args, { env: { ...process.env, SSL_CERT_FILE: cert } });
  assert.is(stdout, '200\n');
  server.closeAllConnections();
  server.close();
});

test.run();
