import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { MetricsText } from './metrics.ts';

/** The part of a Kubernetes object that the scenarios use. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly data?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
}

export interface KubeList {
  readonly metadata: { readonly resourceVersion: string };
  readonly items: readonly KubeObject[];
}

export interface WatchEvent {
  readonly type: string;
  readonly object: KubeObject;
}

/** An answer that is not 2xx, with the message of kube-apiserver's Status object. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface ApiClientOptions {
  readonly port: number;
  readonly token: string;
  /** The server's certificate, looked up at each new connection: the server makes it at its first start. */
  readonly ca: () => Buffer;
}

const REQUEST_TIMEOUT_MS = 70_000;

/** Talks JSON to a kube-apiserver on 127.0.0.1. */
export class ApiClient {
  readonly #options: ApiClientOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });

  constructor(options: ApiClientOptions) {
    this.#options = options;
  }

  get(path: string): Promise<KubeObject> {
    return this.#json('GET', path) as Promise<KubeObject>;
  }

  list(path: string): Promise<KubeList> {
    return this.#json('GET', path) as Promise<KubeList>;
  }

  /** Creates an object in the collection at `path`. */
  create(path: string, object: KubeObject): Promise<KubeObject> {
    return this.#json('POST', path, object) as Promise<KubeObject>;
  }

  /** Replaces the object at `path`. */
  replace(path: string, object: KubeObject): Promise<KubeObject> {
    return this.#json('PUT', path, object) as Promise<KubeObject>;
  }

  /** Merges into the object at `path`. */
  patch(path: string, change: object): Promise<KubeObject> {
    return this.#json('PATCH', path, change, 'application/merge-patch+json') as Promise<KubeObject>;
  }

  async delete(path: string): Promise<void> {
    await this.#json('DELETE', path);
  }

  /** The events of a collection until the loop is left; the version is that of a list. */
  async *watch(path: string, resourceVersion: string): AsyncGenerator<WatchEvent, void> {
    const response = await this.#send('GET', `${path}?watch=1&resourceVersion=${resourceVersion}`);
    try {
      for await (const line of createInterface({ input: response })) yield JSON.parse(line) as WatchEvent;
    } finally {
      response.destroy();
    }
  }

  async metrics(): Promise<MetricsText> {
    return new MetricsText((await this.text('/metrics')).body);
  }

  /** Any answer, whatever its status. */
  async text(path: string): Promise<{ status: number; body: string }> {
    const response = await this.#send('GET', path);
    return { status: response.statusCode ?? 0, body: await bodyOf(response) };
  }

  close(): void {
    this.#agent.destroy();
  }

  async #json(method: string, path: string, body?: object, type = 'application/json'): Promise<unknown> {
    const response = await this.#send(method, path, body && { type, text: JSON.stringify(body) });
    const text = await bodyOf(response);
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return JSON.parse(text);
    throw new ApiError(status, `${method} ${path}: ${status} ${messageOf(text)}`);
  }

  #send(method: string, path: string, body?: { type: string; text: string }): Promise<IncomingMessage> {
    const { port, token, ca } = this.#options;
    return new Promise((resolve, reject) => {
      const headers: Record<string, string> = { authorization: `Bearer ${token}`, accept: 'application/json' };
      if (body) headers['content-type'] = body.type;
      const request = httpsRequest(
        { agent: this.#agent, host: '127.0.0.1', port, method, path, headers, ca: ca(), timeout: REQUEST_TIMEOUT_MS },
        resolve,
      );
      request.once('timeout', () => request.destroy(new Error(`${method} ${path}: no answer`)));
      request.once('error', reject);
      request.end(body?.text);
    });
  }
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

function messageOf(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text;
  } catch {
    return text.trim();
  }
}
