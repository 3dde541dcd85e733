import type { Clock } from '@teapot-kms/core';
import type { IncomingMessage } from 'node:http';
import type { Logger } from 'pino';
import { describeError } from './logging.ts';
import { CONTENT_TYPE } from './prometheus.ts';

/** Time between two attempts to open the port, in ms. */
const RETRY_MS = 1_000;

export interface InstanceHealth {
  readonly name: string;
  /** `ok`, or the reason why not. */
  readonly healthz: string;
}

interface Content {
  /** Returns the text of a scrape. */
  readonly metrics: () => string;
  readonly health: () => Promise<readonly InstanceHealth[]>;
}

/** An import would run all getters of the module. One of them loads undici, 14 MB of memory. */
const { createServer } = process.getBuiltinModule('node:http');

type Answer = readonly [status: number, body: string, type?: string];

/**
 * Serves `/livez` (the process answers), `/readyz` (every instance is healthy; `?verbose` lists them), `/readyz/NAME` (that instance
 * is healthy) and `/metrics` (Prometheus). There is no authentication, so the address must be a loopback address. A port in use does
 * not stop the plugin (design D16): it tries again.
 * @returns a function that ends this
 */
export function serveHttp(
  { host, port }: { readonly host: string; readonly port: number },
  content: Content,
  log: Logger,
  clock: Clock,
): () => void {
  const server = createServer((request, response) => {
    answer(request, content)
      .then(([status, body, type = 'text/plain; charset=utf-8']) => {
        response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
      })
      .catch(() => response.writeHead(500).end('internal error\n'));
  });
  let cancelRetry: (() => void) | undefined;
  server.on('error', (error) => {
    // No descriptor was left for a connection. Later ones may succeed.
    if (server.listening) return;
    if (!cancelRetry) {
      log.error({ error: describeError(error) }, 'health and metrics over HTTP are not available; trying again');
    }
    cancelRetry = clock.after(RETRY_MS, () => server.listen(port, host));
  });
  server.listen(port, host);
  return () => {
    cancelRetry?.();
    server.closeAllConnections();
    server.close();
  };
}

async function answer({ method, url = '/' }: IncomingMessage, { metrics, health }: Content): Promise<Answer> {
  const { pathname, searchParams } = new URL(url, 'http://localhost');
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
