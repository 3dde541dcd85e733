import { createServer } from 'node:http2';
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newDirectory } from '../util/new-directory.ts';

type Answer = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/**
 * An API server for faults that a real one does not make on demand: HTTP/2 without TLS on loopback. Each test says what it
 * answers. The real thing is in e2e/test/k8s-secret.test.ts.
 */
export class FakeApiServer {
  readonly requests: IncomingHttpHeaders[] = [];
  readonly sessions = new Set<ServerHttp2Session>();
  readonly kubeconfig: string;
  /** Connections so far. */
  connections = 0;
  answer: Answer;
  readonly #server = createServer({ settings: { maxConcurrentStreams: 4 } });
  readonly #directory = newDirectory();

  private constructor(answer: Answer) {
    this.answer = answer;
    this.kubeconfig = join(this.#directory, 'kubeconfig');
    this.#server.on('session', (session) => {
      this.connections++;
      this.sessions.add(session);
      session.on('close', () => this.sessions.delete(session)).on('error', () => undefined);
    });
    this.#server.on('drop', () => this.connections++);
    this.#server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      this.requests.push(headers);
      stream.on('error', () => undefined);
      this.answer(stream, headers);
    });
  }

  static async start(answer: Answer): Promise<FakeApiServer> {
    const server = new FakeApiServer(answer);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    server.writeKubeconfig({ token: 'a-token' });
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  writeKubeconfig(user: object, cluster: object = {}): void {
    const config = {
      clusters: [{ name: 'c', cluster: { server: this.url, 'insecure-skip-tls-verify': true, ...cluster } }],
      users: [{ name: 'u', user }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    };
    writeFileSync(this.kubeconfig, JSON.stringify(config), { mode: 0o600 });
  }

  path(name: string): string {
    return join(this.#directory, name);
  }

  /** Closes each new connection at once. */
  refuse(): void {
    this.#server.maxConnections = 0;
  }

  /** Ends all connections silently, as a restart does. */
  cut(): void {
    for (const session of this.sessions) session.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}

export const json = (stream: ServerHttp2Stream, status: number, body: object): void => {
  stream.respond({ ':status': status, 'content-type': 'application/json' });
  stream.end(JSON.stringify(body));
};
