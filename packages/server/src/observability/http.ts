import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';

export interface HttpOptions {
  readonly host: string;
  readonly port: number;
  readonly registry: Registry;
  /** Instances with `ok` or what is wrong. */
  readonly health: () => Promise<readonly (readonly [name: string, healthz: string])[]>;
}

/** An import would run all getters of the module, one of which loads undici: 14 MB of memory. */
const { createServer } = process.getBuiltinModule('node:http');

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly type?: string;
}

/**
 * `/livez`: the process answers. `/readyz`: every instance is well, `?verbose` says which are not, `/readyz/NAME` asks for one.
 * `/metrics`: Prometheus. Only on loopback, as none of it asks who is there.
 */
export async function startHttp({ host, port, registry, health }: HttpOptions): Promise<Server> {
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
      return { status: 405, body: 'GET only\n' };
    }
    if (url.pathname === '/livez') {
      return { status: 200, body: 'ok\n' };
    }
    if (url.pathname === '/metrics') {
      return { status: 200, body: await registry.metrics(), type: registry.contentType };
    }
    const one = /^\/readyz(?:\/([a-z0-9-]+))?$/.exec(url.pathname);
    if (!one) {
      return { status: 404, body: 'there are /livez, /readyz, /readyz/INSTANCE and /metrics\n' };
    }
    const all = await health();
    const asked = one[1] === undefined ? all : all.filter(([name]) => name === one[1]);
    if (asked.length === 0) {
      return { status: 404, body: 'no such instance\n' };
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
