import { backOffMs, KmsError, sleep } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import { MalformedMessage } from '@teapot-kms/core/protobuf';
import { connect } from 'node:http2';
import type { ClientHttp2Session } from 'node:http2';
import { decodeRange, encodeRange } from './range.ts';
import type { RangeAnswer, RangeRequest } from './range.ts';
import { AnswerBuffer, AnswerTooLong, CallRefused, Status, unaryCall } from './unary-call.ts';

/** What etcd's client port expects. All in PEM. */
export interface EtcdTls {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

export interface EtcdClientOptions {
  /** URLs of members of one cluster; used in this order. */
  readonly servers: readonly URL[];
  readonly tls: EtcdTls;
  readonly clock: Clock;
  /** Time limit in ms for one call with its connection. Default 20 s: etcd's own requests take up to 7 s. */
  readonly timeoutMs?: number;
  /** Attempts before a call fails. Each member gets its turn. Default 6, about 15 s of waiting. */
  readonly attempts?: number;
}

/** Longest answer in bytes. A single value has at most 1.5 MiB by default (`--max-request-bytes`). */
export const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** Bytes that etcd may send ahead. HTTP/2's own 64 KiB would make each page wait for many round trips. */
const WINDOW_BYTES = 2 * 1024 * 1024;
const BACK_OFF = { firstMs: 250, longestMs: 5_000 };

/** The page has more bytes than an answer may have: ask for fewer objects. */
export class PageTooLarge extends Error {
  override readonly name = 'PageTooLarge';
}

/** etcd no longer has the revision that was asked for. */
export class Compacted extends Error {
  override readonly name = 'Compacted';
}

/** Reads etcd through its gRPC API, one call at a time over one connection. It cannot write. */
export class EtcdClient {
  readonly #options: EtcdClientOptions;
  readonly #answer = new AnswerBuffer();
  #session: ClientHttp2Session | undefined;
  #turn = 0;
  #clusterId: string | undefined;

  constructor(options: EtcdClientOptions) {
    this.#options = options;
  }

  /**
   * Reads a range of keys. The answer is valid until the next call. A member that does not answer costs an attempt, and the next one is asked.
   * @throws {@link KmsError} `ERR_KMS_ETCD_UNAVAILABLE`; PageTooLarge; Compacted
   */
  async range(request: RangeRequest): Promise<RangeAnswer> {
    const { servers, clock, attempts = 6 } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const server = servers[this.#turn % servers.length]!;
      try {
        const answer = await this.#rangeFrom(server, request);
        this.#checkCluster(answer, server);
        return answer;
      } catch (error) {
        if (error instanceof AnswerTooLong) throw new PageTooLarge(error.message);
        if (error instanceof CallRefused && error.status === Status.OUT_OF_RANGE) throw new Compacted(error.message);
        this.#next();
        if (isFinal(error) || attempt === attempts) throw unavailable(server, error as Error);
        await sleep(clock, backOffMs(attempt, BACK_OFF));
      }
    }
  }

  close(): void {
    this.#session?.destroy();
    this.#session = undefined;
  }

  /** The next call goes to another member, over a new connection. */
  #next(): void {
    this.close();
    this.#turn++;
  }

  async #rangeFrom(server: URL, request: RangeRequest): Promise<RangeAnswer> {
    const { clock, timeoutMs = 20_000 } = this.#options;
    const late = new AbortController();
    const cancel = clock.after(timeoutMs, () => late.abort(new Error(`no answer within ${timeoutMs} ms`)));
    try {
      const session = this.#connected(server);
      const message = encodeRange(request);
      const limits = { maxBytes: MAX_ANSWER_BYTES, into: this.#answer, signal: late.signal };
      const answer = decodeRange(await unaryCall(session, { path: '/etcdserverpb.KV/Range', message, ...limits }));
      checkAnswer(answer, request);
      return answer;
    } catch (error) {
      throw late.signal.aborted ? late.signal.reason : error;
    } finally {
      cancel();
    }
  }

  #connected(server: URL): ClientHttp2Session {
    if (this.#session && !this.#session.closed && !this.#session.destroyed) return this.#session;
    const session = connect(server.origin, {
      ...this.#options.tls,
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
      rejectUnauthorized: true,
      settings: { enablePush: false, initialWindowSize: WINDOW_BYTES },
    });
    // The call's own stream gets the error too.
    session.on('error', () => undefined).once('connect', () => session.setLocalWindowSize(2 * WINDOW_BYTES));
    return (this.#session = session);
  }

  /** A load balancer, or a wrong list of servers, must not mix two clusters in one result. */
  #checkCluster({ clusterId }: RangeAnswer, server: URL): void {
    this.#clusterId ??= clusterId;
    if (clusterId === this.#clusterId) return;
    const message = `${server.origin} belongs to cluster ${clusterId}, and the server before it to cluster ${this.#clusterId}`;
    throw new KmsError('ERR_KMS_ETCD_UNAVAILABLE', message, { remedy: 'name members of one cluster only' });
  }
}

/** @throws Error for an answer to another question: pages must never skip or repeat a key */
function checkAnswer(
  { clusterId, revision, objects, more }: RangeAnswer,
  { key, rangeEnd, limit }: RangeRequest,
): void {
  if (clusterId === '' || revision === 0) throw new MalformedMessage('no header');
  if (objects.length > limit || (more && objects.length === 0))
    throw new MalformedMessage('more objects than asked for, or none');
  let before: Buffer | undefined;
  for (const object of objects) {
    const inRange = rangeEnd
      ? key.compare(object.key) <= 0 && rangeEnd.compare(object.key) > 0
      : key.equals(object.key);
    if (!inRange) throw new MalformedMessage('a key outside the range');
    if (before && before.compare(object.key) >= 0) throw new MalformedMessage('keys out of order');
    before = object.key;
  }
}

/** Whether another attempt would end in the same way. */
function isFinal(error: unknown): boolean {
  if (error instanceof CallRefused) {
    const { DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE } = Status;
    return ![DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE].some((status) => status === error.status);
  }
  const { code = '' } = error as NodeJS.ErrnoException;
  // A certificate does not become valid by waiting.
  return (
    error instanceof KmsError ||
    error instanceof MalformedMessage ||
    /^(ERR_TLS|ERR_SSL|CERT|UNABLE|SELF|DEPTH)/.test(code)
  );
}

function unavailable({ origin }: URL, cause: Error): KmsError {
  if (cause instanceof KmsError) return cause;
  const remedy =
    cause instanceof CallRefused
      ? "etcd's log has the reason; kube-apiserver's client certificate may read"
      : `check that etcd answers at ${origin}, and the files for TLS: those of kube-apiserver's flags --etcd-cafile, --etcd-certfile and --etcd-keyfile`;
  return new KmsError('ERR_KMS_ETCD_UNAVAILABLE', `${origin}: ${cause.message}`, { cause, remedy });
}
