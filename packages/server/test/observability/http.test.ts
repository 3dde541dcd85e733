import { FakeClock, newDirectory } from '@teapot-kms/testing';
import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage, RequestOptions } from 'node:http';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { serveHttp } from '../../src/observability/http.ts';
import type { HttpAddress } from '../../src/observability/http.ts';

async function fetchOnceUp(url: string): Promise<Response> {
  for (;;) {
    try {
      return await fetch(url);
    } catch {
      await setImmediate();
    }
  }
}

test('a port that is taken is tried again until it is free', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const clock = new FakeClock();
  const content = { metrics: () => '', health: () => Promise.resolve([{ name: 'a', healthz: 'no key' }]) };
  let stop = (): void => undefined;
  const logged = await new Promise<string>((write) => {
    stop = serveHttp({ host: '127.0.0.1', port }, content, pino({}, { write }), clock);
  });
  assert.match(logged, 'EADDRINUSE');
  other.close();
  await once(other, 'close');
  await clock.advance(1_000);
  const response = await fetchOnceUp(`http://127.0.0.1:${port}/readyz`);
  assert.is(response.status, 503);
  assert.is(await response.text(), '[-]a failed: no key\n');
  stop();
});

interface Served {
  readonly clock: FakeClock;
  /** Scrapes that were made. */
  readonly scrapes: () => number;
  readonly get: (path: string, options?: RequestOptions) => Promise<{ status: number | undefined; body: string }>;
  readonly connect: () => Promise<Socket>;
  readonly stop: () => void;
}

async function serve(address?: HttpAddress, timeoutMs?: number): Promise<Served> {
  const clock = new FakeClock();
  let scrapes = 0;
  const content = {
    metrics: () => `scrape ${++scrapes}`,
    health: () => Promise.resolve([{ name: 'a', healthz: 'ok' }]),
  };
  const to = address ?? { host: '127.0.0.1', port: await freePort() };
  const stop = serveHttp(to, content, pino({ level: 'silent' }), clock, timeoutMs);
  const where = 'socket' in to ? { socketPath: to.socket } : to;
  const get: Served['get'] = async (path, options = {}) => {
    const sent = request({ ...where, path, agent: false, ...options }).end();
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of answer as AsyncIterable<Buffer>) body += chunk.toString();
    return { status: answer.statusCode, body };
  };
  const opened = async (): Promise<Socket> => {
    const socket = 'socket' in to ? connect(to.socket) : connect(to.port, to.host);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  };
  for (let up = false; !up;) {
    up = await get('/livez').then(
      () => true,
      () => false,
    );
  }
  return { clock, scrapes: () => scrapes, get, connect: opened, stop };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

test('hundreds of idle connections keep nobody out: the oldest ones go', async () => {
  const { get, connect: opened, stop } = await serve();
  const idle: Socket[] = [];
  for (let i = 0; i < 400; i++) idle.push(await opened());
  // The last one to be refused is refused after the last one came.
  const open = () => idle.filter((socket) => !socket.closed && !socket.destroyed).length;
  assert.is((await get('/livez')).status, 200);
  while (open() > 32) await setImmediate();
  assert.ok(open() >= 31, 'and no more than the oldest ones');
  for (const socket of idle) socket.destroy();
  stop();
});

for (const [what, send] of [
  ['sends nothing', (): void => undefined],
  ['sends half a request', (socket: Socket) => void socket.write('GET /livez HTTP/1.1\r\nHost: loc')],
  ['stays after its answer', (socket: Socket) => void socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n')],
] as const) {
  test(`a connection that ${what} is closed after a while`, async () => {
    const { connect: opened, stop } = await serve(undefined, 100);
    const socket = await opened();
    send(socket);
    socket.resume();
    await once(socket, 'close');
    stop();
  });
}

test('a request that arrives byte by byte is cut off', async () => {
  const { connect: opened, stop } = await serve(undefined, 100);
  const socket = await opened();
  const timer = setInterval(() => socket.write('G'), 10);
  socket.resume();
  await once(socket, 'close');
  clearInterval(timer);
  stop();
});

test('a page in a browser that has made its own name resolve to this host gets nothing', async () => {
  const { get, stop } = await serve();
  for (const host of [
    'evil.example',
    'evil.example:8089',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '10.0.0.1',
  ]) {
    assert.is((await get('/metrics', { headers: { host } })).status, 421, host);
  }
  for (const host of ['localhost', 'LOCALHOST:1', '127.0.0.1', '127.0.0.1:8089', '127.1.2.3', '[::1]:8089']) {
    assert.is((await get('/metrics', { headers: { host } })).status, 200, host);
  }
  stop();
});

test('a scrape is given again for a second', async () => {
  const { get, scrapes, clock, stop } = await serve();
  for (let i = 0; i < 50; i++) assert.is((await get('/metrics')).body, 'scrape 1');
  await clock.advance(1_000);
  assert.is((await get('/metrics')).body, 'scrape 2');
  assert.is(scrapes(), 2);
  stop();
});

test('a URL that is none, and a method that is none of ours, are refused', async () => {
  const { get, connect: opened, stop } = await serve();
  assert.is((await get('//')).status, 404);
  assert.is((await get('/livez', { method: 'POST' })).status, 405);
  const socket = await opened();
  socket.end('\x16\x03\x01 TLS\r\n\r\n');
  const [answer] = (await once(socket, 'data')) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1.1 400 /);
  stop();
});

test('on a Unix socket it serves under any name, with the mode that was asked for, and leaves no file', async () => {
  const socket = join(newDirectory(), 'health.sock');
  const { get, clock, stop } = await serve({ socket, socketMode: 0o660 });
  assert.is((await get('/readyz', { headers: { host: 'anything' } })).status, 200);
  assert.is(statSync(socket).mode & 0o777, 0o660);
  stop();
  await clock.advance(1_000);
  assert.not(statSync(socket, { throwIfNoEntry: false }));
});

test.run();
