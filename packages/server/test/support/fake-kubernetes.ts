import type { ApiAnswer, ApiRequest } from '@teapot-kms/core';
import { FakeClock, settle } from '@teapot-kms/testing';

interface StoredObject {
  readonly namespace: string;
  resourceVersion: number;
  /** Under an older key. */
  stale: boolean;
}

/** What a test answers instead. */
type Fault = (request: ApiRequest) => ApiAnswer | undefined;

/** A Kubernetes API in memory that makes the faults which a real one does not make on demand. The real one is in e2e/test/rotate.test.ts. */
export class FakeKubernetes {
  readonly clock = new FakeClock();
  readonly objects = new Map<string, StoredObject>();
  readonly requests: ApiRequest[] = [];
  /** Documents of discovery, by path. */
  readonly documents = new Map<string, object>();
  /** Writes to etcd. */
  writes = 0;
  underWay = 0;
  mostUnderWay = 0;
  fault: Fault = () => undefined;
  #revision = 1;

  /** @param stale - how many of them are under an older key */
  static of(count: number, stale = count): FakeKubernetes {
    const fake = new FakeKubernetes();
    for (let n = 0; n < count; n++)
      fake.objects.set(`s-${n}`, { namespace: `ns-${n % 3}`, resourceVersion: fake.#revision++, stale: n < stale });
    return fake;
  }

  get server() {
    return { request: (request: ApiRequest) => this.#request(request) };
  }

  /** How often each method was asked. */
  count(method: ApiRequest['method']): number {
    return this.requests.filter((request) => request.method === method).length;
  }

  /** Lets time pass until `work` is over. */
  async during<T>(work: Promise<T>): Promise<T> {
    const ended = work.then(
      () => true,
      () => true,
    );
    while (!(await Promise.race([ended, settle().then(() => false)]))) await this.clock.advance(1_000);
    return work;
  }

  /** Another writer changes an object, under the current key. */
  touch(name: string): void {
    Object.assign(this.objects.get(name)!, { resourceVersion: this.#revision++, stale: false });
  }

  async #request(request: ApiRequest): Promise<ApiAnswer> {
    this.requests.push(request);
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    await Promise.resolve();
    this.underWay--;
    return this.fault(request) ?? this.#answer(request);
  }

  #answer({ method, path }: ApiRequest): ApiAnswer {
    if (method === 'PATCH') return this.#patch(path);
    const url = new URL(path, 'http://fake');
    const document = this.documents.get(url.pathname);
    if (document) return answer(200, document);
    if (url.pathname !== '/api/v1/secrets') return status(404, 'not found');
    return this.#list(Number(url.searchParams.get('limit')), Number(url.searchParams.get('continue') ?? 0));
  }

  #list(limit: number, from: number): ApiAnswer {
    const all = [...this.objects];
    const page = all.slice(from, from + limit);
    const left = all.length - from - page.length;
    const items = page.map(([name, { namespace, resourceVersion }]) => {
      return { metadata: { name, namespace, resourceVersion: String(resourceVersion) } };
    });
    const more = left > 0 ? { continue: String(from + limit), remainingItemCount: left } : {};
    return answer(200, { metadata: { resourceVersion: '9', ...more }, items });
  }

  #patch(path: string): ApiAnswer {
    const [, namespace, name = ''] = /^\/api\/v1\/namespaces\/([^/]+)\/secrets\/([^/]+)$/.exec(path) ?? [];
    const object = this.objects.get(name);
    if (object?.namespace !== namespace) return status(404, `secrets "${name}" not found`);
    if (object!.stale) {
      this.touch(name);
      this.writes++;
    }
    return answer(200, { metadata: { name, resourceVersion: String(object!.resourceVersion) } });
  }
}

export const answer = (code: number, body: object, retryAfterMs?: number): ApiAnswer =>
  ({ status: code, body: Buffer.from(JSON.stringify(body)), retryAfterMs }) as ApiAnswer;

/** A Status object. */
export const status = (code: number, message: string, metadata: object = {}, retryAfterMs?: number): ApiAnswer =>
  answer(code, { kind: 'Status', code, message, metadata }, retryAfterMs);
