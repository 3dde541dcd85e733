import type { IncomingMessage, Server } from 'node:http';
import { CONTENT_TYPE } from './prometheus.ts';

export interface HttpOptions {
  readonly host: string;
  readonly port: number;
  /** Returns the text of a scrape. */
  readonly metrics: () => string;
  /** Returns the instances with `ok` or the reason why not. */
  readonly health: () => Promise<readonly (readonly [name: string, healthz: string])[]>;
}

/** An import would run all getters of the module. One of them loads undici, 14 MB of memory. */
const { createServer } = process.getBuiltinModule('node:http');

type Answer = readonly [status: number, body: string, type?: string];

/**
 * Serves `/livez` (the process answers), `/readyz` (every instance is healthy; `?verbose` lists them), `/readyz/NAME` (that instance
 * is healthy) and `/metrics` (Prometheus). There is no authentication, so the address must be a loopback address.
 */
export async function startHttp(options: HttpOptions): Promise<Server> {
  const server = createServer((request, response) => {
    answer(request, options)
      .then(([status, body, type = 'text/plain; charset=utf-8']) => {
        response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
      })
      .catch(() => response.writeHead(500).end('internal error\n'));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  return server;
}

async function answer({ method, url = '/' }: IncomingMessage, { metrics, health }: HttpOptions): Promise<Answer> {
  const { pathname, searchParams } = new URL(url, 'http://localhost');
  if (method !== 'GET' && method !== 'HEAD') return [405, 'use GET\n'];
  if (pathname === '/livez') return [200, 'ok\n'];
  if (pathname === '/metrics') return [200, metrics(), CONTENT_TYPE];
  const one = /^\/readyz(?:\/([a-z0-9-]+))?$/.exec(pathname);
  if (!one) return [404, 'not found; use /livez, /readyz, /readyz/INSTANCE or /metrics\n'];
  const all = await health();
  const asked = one[1] === undefined ? all : all.filter(([name]) => name === one[1]);
  if (asked.length === 0) return [404, 'there is no such instance\n'];
  const ready = asked.every(([, healthz]) => healthz === 'ok');
  if (ready && !searchParams.has('verbose')) return [200, 'ok\n'];
  const lines = asked.map(([name, healthz]) =>
    healthz === 'ok' ? `[+]${name} ok\n` : `[-]${name} failed: ${healthz}\n`,
  );
  return [ready ? 200 : 503, lines.join('')];
}
