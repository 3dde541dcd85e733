import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Registry } from './prometheus.ts';

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

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly type?: string;
}

/**
 * Serves `/livez` (the process answers), `/readyz` (every instance is healthy; `?verbose` lists them), `/readyz/NAME` (that instance
 * is healthy) and `/metrics` (Prometheus). There is no authentication, so the address must be a loopback address.
 */
export async function startHttp({ host, port, metrics, health }: HttpOptions): Promise<Server> {
  const server = createServer((request, response) => {
    respond(request, response).catch(() => response.writeHead(500).end('internal error\n'));
  });
  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, body, type = 'text/plain; charset=utf-8' } = await answer(request);
    response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
  }
  async function answer(request: IncomingMessage): Promise<Answer> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return { status: 405, body: 'use GET\n' };
    }
    if (url.pathname === '/livez') {
      return { status: 200, body: 'ok\n' };
    }
    if (url.pathname === '/metrics') {
      return { status: 200, body: metrics(), type: Registry.contentType };
    }
    const one = /^\/readyz(?:\/([a-z0-9-]+))?$/.exec(url.pathname);
    if (!one) {
      return { status: 404, body: 'not found; use /livez, /readyz, /readyz/INSTANCE or /metrics\n' };
    }
    const all = await health();
    const asked = one[1] === undefined ? all : all.filter(([name]) => name === one[1]);
    if (asked.length === 0) {
      return { status: 404, body: 'there is no such instance\n' };
    }
    const ready = asked.every(([, healthz]) => healthz === 'ok');
    const lines = asked.map(([name, healthz]) =>
      healthz === 'ok' ? `[+]${name} ok` : `[-]${name} failed: ${healthz}`,
    );
    const verbose = url.searchParams.has('verbose') || !ready;
    return { status: ready ? 200 : 503, body: verbose ? `${lines.join('\n')}\n` : 'ok\n' };
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return server;
}
