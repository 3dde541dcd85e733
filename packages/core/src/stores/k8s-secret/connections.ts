import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from 'node:http2';
import { KmsError } from '../../errors.ts';
import type { Credentials } from './credentials.ts';

/** HTTP/2's error codes (RFC 9113 §7) that we need. */
export const NO_ERROR = 0x0;
export const CANCEL = 0x8;

/** ms for TCP, TLS and HTTP/2's first exchange. */
const CONNECT_TIMEOUT_MS = 5_000;
/** A connection that was cut without a word is found out in twice this time (client-go: 30 s and 15 s). In ms. */
const PING_INTERVAL_MS = 15_000;
/** ms in which nobody tries again after a connection could not be made: hundreds of instances ask at the same time. */
const RETRY_MS = 500;
/** Some hundred watches fit on one connection (kube-apiserver allows 100 streams); this is for thousands. */
const MAX_CONNECTIONS = 64;

interface Connection {
  /** Of the credentials that it was made with: they last as long as it does. */
  readonly identity: string;
  readonly session: ClientHttp2Session;
  readonly streams: Set<ClientHttp2Stream>;
}

/**
 * HTTP/2 connections to one API server: as few as its limit of streams allows, made one after the other however many
 * ask for one at a time.
 */
export class Connections {
  readonly #connections = new Set<Connection>();
  #opening: Promise<void> | undefined;
  #failure: { error: KmsError; at: number } | undefined;

  /** Connections that are open. */
  get size(): number {
    return this.#connections.size;
  }

  /**
   * Begins a request. Who aborts it or has read its answer frees its place.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
   */
  async request(credentials: Credentials, headers: OutgoingHttpHeaders, hasBody: boolean): Promise<ClientHttp2Stream> {
    for (;;) {
      this.#retireOthers(credentials.identity);
      const free = [...this.#connections].find(isUsable);
      if (free) return begin(free, headers, hasBody);
      await (this.#opening ??= this.#open(credentials).finally(() => (this.#opening = undefined)));
    }
  }

  close(): void {
    for (const { session } of this.#connections) session.destroy();
    this.#connections.clear();
  }

  /** After credentials have changed, requests go to new connections; what runs on the old ones ends there. */
  #retireOthers(identity: string): void {
    for (const connection of this.#connections) {
      if (connection.identity === identity) continue;
      this.#connections.delete(connection);
      connection.session.close();
    }
  }

  async #open(credentials: Credentials): Promise<void> {
    if (this.#failure && performance.now() - this.#failure.at < RETRY_MS) throw this.#failure.error;
    if (this.#connections.size >= MAX_CONNECTIONS) {
      throw new KmsError(
        'ERR_KMS_STORE_UNAVAILABLE',
        `all ${MAX_CONNECTIONS} connections to the API server are in use`,
      );
    }
    try {
      const session = await openSession(credentials);
      const { identity } = credentials;
      const connection = { identity, session, streams: new Set<ClientHttp2Stream>() };
      this.#connections.add(connection);
      const gone = () => this.#connections.delete(connection);
      session.on('close', gone).on('goaway', gone);
      if (session.closed || session.destroyed) gone();
      this.#failure = undefined;
    } catch (error) {
      const { origin } = credentials.server;
      const message = `${origin}: ${(error as Error).message}`;
      this.#failure = {
        error: new KmsError('ERR_KMS_STORE_UNAVAILABLE', message, { cause: error }),
        at: performance.now(),
      };
      throw this.#failure.error;
    }
  }
}

function isUsable({ session, streams }: Connection): boolean {
  return !session.closed && !session.destroyed && streams.size < (session.remoteSettings.maxConcurrentStreams ?? 100);
}

function begin({ session, streams }: Connection, headers: OutgoingHttpHeaders, hasBody: boolean): ClientHttp2Stream {
  const stream = session.request(headers, { endStream: !hasBody });
  streams.add(stream);
  stream.on('close', () => streams.delete(stream));
  return stream;
}

async function openSession({ server, ca, cert, key, servername }: Credentials): Promise<ClientHttp2Session> {
  // 10 MB of memory with TLS, for those only who use it.
  const { connect } = await import('node:http2');
  const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }), ...(servername && { servername }) };
  const session = connect(server.origin, { ...tls, settings: { enablePush: false } });
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      clearTimeout(timer);
      session.destroy();
      reject(error);
    };
    const timer = setTimeout(() => fail(new Error('no connection in time')), CONNECT_TIMEOUT_MS);
    const ended = () => fail(new Error('the connection was closed at once'));
    session.once('error', fail).once('close', ended);
    session.once('remoteSettings', () => {
      clearTimeout(timer);
      session.off('error', fail).off('close', ended);
      // The streams get it as well.
      session.on('error', () => undefined);
      watchOver(session);
      resolve(session);
    });
  });
}

function watchOver(session: ClientHttp2Session): void {
  let answered = true;
  const timer = setInterval(() => {
    if (!answered) {
      session.destroy(new Error('the API server does not answer pings'), CANCEL);
      return;
    }
    answered = false;
    session.ping(() => (answered = true));
  }, PING_INTERVAL_MS).unref();
  session.once('close', () => clearInterval(timer));
}
