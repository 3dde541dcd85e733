import { createServer, request as forward } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream';
import type { TlsOptions } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';

/** What goes wrong with one request. */
export type HttpFault =
  /** It is answered that much later. */
  | { readonly delayMs: number }
  /** It is passed on only then. */
  | { readonly after: Promise<void> }
  /** It is never answered. */
  | 'hang'
  /** The connection is closed without an answer. */
  | 'reset'
  /** The answer is not the real one. */
  | { readonly status: number; readonly body?: string; readonly headers?: Readonly<Record<string, string>> }
  /** The answer's head arrives, then one byte of its body at this interval, in ms. */
  | { readonly trickleMs: number }
  /** The real answer, changed. */
  | { readonly change: (body: Buffer, headers: Record<string, string>) => Buffer };

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<IncomingMessage['headers']>;
}

/** A proxy in front of a real HTTP service: counts requests, and injects faults that a test asks for. */
export class HttpProxy {
  readonly url: string;
  readonly requests: SeenRequest[] = [];
  /** Asked for each request; nothing by default. */
  fault: (request: SeenRequest) => HttpFault | undefined = () => undefined;
  readonly #server: Server;

  private constructor(server: Server, url: string) {
    this.#server = server;
    this.url = url;
  }

  /**
   * @param target - `http://host:port` of the real service
   * @param tls - key and certificate, to be https on this side
   */
  static async start(target: string, tls?: TlsOptions): Promise<HttpProxy> {
    const listener: RequestListener = (request, response) => void proxy.#handle(target, request, response);
    const server = tls ? createTlsServer(tls, listener) : createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const proxy = new HttpProxy(server, `${tls ? 'https' : 'http'}://127.0.0.1:${port}`);
    return proxy;
  }

  /** Requests so far whose method is this and whose path matches. */
  count(method: string, path: RegExp): number {
    return this.requests.filter((seen) => seen.method === method && path.test(seen.path)).length;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #handle(target: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = { method: request.method ?? '', path: request.url ?? '', headers: request.headers };
    this.requests.push(seen);
    const fault = this.fault(seen);
    if (fault === 'hang') return;
    if (fault === 'reset') return void request.socket.destroy();
    if (fault && 'status' in fault) {
      response.writeHead(fault.status, fault.headers).end(fault.body ?? '');
      return;
    }
    if (fault && 'delayMs' in fault) await sleep(fault.delayMs);
    if (fault && 'after' in fault) await fault.after;
    try {
      const { status, headers, body } = await pass(target, request);
      if (fault && 'trickleMs' in fault) {
        response.writeHead(status, headers);
        for (const byte of body) {
          response.write(Buffer.of(byte));
          await sleep(fault.trickleMs);
        }
        response.end();
        return;
      }
      const changed = fault && 'change' in fault ? fault.change(body, headers) : body;
      headers['content-length'] = String(changed.length);
      response.writeHead(status, headers).end(changed);
    } catch {
      // The real service is down: as a reverse proxy's client would not see it, but as its own client would.
      request.socket.destroy();
    }
  }
}

interface Passed {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

async function pass(target: string, request: IncomingMessage): Promise<Passed> {
  const headers = without(request.headers, ['host', 'connection']);
  return new Promise((resolve, reject) => {
    const outgoing = forward(`${target}${request.url ?? ''}`, { method: request.method, headers }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () => {
        const kept = without(incoming.headers, ['connection', 'transfer-encoding']);
        resolve({ status: incoming.statusCode ?? 502, headers: kept, body: Buffer.concat(chunks) });
      });
    });
    // A client that gave up takes its request along: one that never ends would block a server that has one thread.
    pipeline(request, outgoing, (error) => {
      if (error) reject(error);
    });
  });
}

function without(headers: IncomingMessage['headers'], names: readonly string[]): Record<string, string> {
  const kept = Object.entries(headers).filter(([name]) => !names.includes(name));
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value)] as const));
}
