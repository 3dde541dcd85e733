import type { Clock } from '@teapot-kms/core';
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { SocketListener } from '../transport/socket.ts';
import { isOurHost } from './http-host.ts';
import { describeError } from './logging.ts';
import { CONTENT_TYPE } from './prometheus.ts';

/** Time between two attempts to open the port or socket, in ms. */
const RETRY_MS = 1_000;

/** Connections that may be open. kubelet and Prometheus have one each. */
const MAX_CONNECTIONS = 32;
const TIMEOUT_MS = 5_000;
/** Bytes of the head of a request. */
const MAX_HEAD_BYTES = 8 * 1024;
/** Time in ms for which a scrape is given again: it takes tens of milliseconds of the only thread with hundreds of instances. */
const SCRAPE_MS = 1_000;

/** Where it is served: on a loopback address, or on a Unix socket. */
export type HttpAddress =
  { readonly host: string; readonly port: number } | { readonly socket: string; readonly socketMode: number };

export interface InstanceHealth {
  readonly name: string;
  /** `ok`, or the reason why not. */
  readonly healthz: string;
}

interface Content<Text = string> {
  /** Returns the text of a scrape. */
  readonly metrics: () => Text;
  readonly health: () => Promise<readonly InstanceHealth[]>;
}

/** An import would run all getters of the module. One of them loads undici, 14 MB of memory. */
const { createServer } = process.getBuiltinModule('node:http');

type Answer = readonly [status: number, body: string | Buffer, type?: string];

/**
 * Serves `/livez` (the process answers), `/readyz` (every instance is healthy; `?verbose` lists them), `/readyz/NAME` (that instance
 * is healthy) and `/metrics` (Prometheus). There is no authentication: any local user may connect to a loopback address. So connections,
 * their time and the work for them are bounded, and a page in a browser of this host gets nothing ({@link isOurHost}). A port in use does
 * not stop the plugin (design D16): it tries again.
 * @param timeoutMs - for a request to arrive, and for an idle connection
 * @returns a function that ends this
 */
export function serveHttp(
  address: HttpAddress,
  content: Content,
  log: Logger,
  clock: Clock,
  timeoutMs = TIMEOUT_MS,
): () => void {
  const once = { ...content, metrics: remembered(content.metrics, clock) };
  const isAllowed = (host: string | undefined) => 'socket' in address || isOurHost(host, address.host);
  const server = makeServer(once, isAllowed, timeoutMs);
  let cancelRetry: (() => void) | undefined;
  let listener: SocketListener | undefined;
  let stopped = false;
  const listen = (): void => {
    if (!('socket' in address)) return void server.listen(address.port, address.host);
    const { socket: path, socketMode: mode } = address;
    const onConnection = (socket: Socket): void => void server.emit('connection', socket);
    const onLost = (): void => {
      listener = undefined;
      if (!stopped) listen();
    };
    void SocketListener.listen({ path, mode, takeOver: false, onConnection, clock, onLost }).then((one) => {
      if (stopped) return one.close();
      listener = one;
      return undefined;
    }, failed);
  };
  const failed = (error: unknown): void => {
    if (!cancelRetry) {
      log.error({ error: describeError(error) }, 'health and metrics over HTTP are not available; trying again');
    }
    cancelRetry = clock.after(RETRY_MS, listen);
  };
  // While it listens: no descriptor was left for a connection. Later ones may succeed.
  server.on('error', (error) => (server.listening ? undefined : failed(error)));
  listen();
  return () => {
    stopped = true;
    cancelRetry?.();
    void listener?.close();
    server.closeAllConnections();
    server.close();
  };
}

type HostCheck = (host: string | undefined) => boolean;

function makeServer(content: Content<Buffer>, isAllowed: HostCheck, timeoutMs: number): Server {
  // By Node's own clock.
  const limits = {
    requestTimeout: timeoutMs,
    headersTimeout: timeoutMs,
    keepAliveTimeout: timeoutMs,
    connectionsCheckingInterval: timeoutMs / 5,
    maxHeaderSize: MAX_HEAD_BYTES,
  };
  const server = createServer(limits, (request, response) => {
    // Nothing here reads a body.
    request.resume();
    answer(request, content, isAllowed)
      .then(([status, body, type = 'text/plain; charset=utf-8']) => {
        response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
      })
      .catch(() => response.writeHead(500).end('internal error\n'));
  });
  // For a client that does not read its answer.
  server.setTimeout(timeoutMs);
  const connections = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    // The oldest one goes, not the new one: who holds all of them would keep kubelet out, and the plugin would be restarted.
    if (connections.size > MAX_CONNECTIONS) connections.values().next().value!.destroy();
  });
  return server;
}

/** Gives the text again for a while, as bytes, so that not every answer encodes it. */
function remembered(make: () => string, clock: Clock): () => Buffer {
  let known: { readonly bytes: Buffer; readonly until: number } | undefined;
  return () => {
    if (known && clock.now() < known.until) return known.bytes;
    known = { bytes: Buffer.from(make()), until: clock.now() + SCRAPE_MS };
    return known.bytes;
  };
}

async function answer(
  { method, url = '/', headers }: IncomingMessage,
  { metrics, health }: Content<Buffer>,
  isAllowed: HostCheck,
): Promise<Answer> {
  if (!isAllowed(headers.host)) return [421, 'use the address of http.host, or localhost, in the URL\n'];
  const { pathname, searchParams } = URL.parse(url, 'http://localhost') ?? new URL('http://localhost/?');
  if (method !== 'GET' && method !== 'HEAD') return [405, 'use GET\n'];
  if (pathname === '/livez') return [200, 'ok\n'];
  if (pathname === '/metrics') return [200, metrics(), CONTENT_TYPE];
  const one = /^\/readyz(?:\/([a-z0-9-]+))?$/.exec(pathname);
  if (!one) return [404, 'not found; use /livez, /readyz, /readyz/INSTANCE or /metrics\n'];
  const all = await health();
  const asked = one[1] === undefined ? all : all.filter(({ name }) => name === one[1]);
  if (asked.length === 0) return [404, 'there is no such instance\n'];
  const ready = asked.every(({ healthz }) => healthz === 'ok');
  if (ready && !searchParams.has('verbose')) return [200, 'ok\n'];
  const lines = asked.map(({ name, healthz }) =>
    healthz === 'ok' ? `[+]${name} ok\n` : `[-]${name} failed: ${healthz}\n`,
  );
  return [ready ? 200 : 503, lines.join('')];
}
