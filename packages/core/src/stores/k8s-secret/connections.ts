import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from 'node:http2';
import { KmsError, unavailable } from '../../errors.ts';
import { unlessAborted } from '../../util/abort.ts';
import type { Clock } from '../../util/clock.ts';
import type { Credentials } from './credentials.ts';
import { connectThrough } from './kubeconfig/proxy.ts';

/** HTTP/2's error codes (RFC 9113 §7) that we need. */
export const NO_ERROR = 0x0;
export const CANCEL = 0x8;

/** ms for TCP, TLS and HTTP/2's first exchange. */
const CONNECT_TIMEOUT_MS = 5_000;
/** ms between pings. A connection that was cut silently is found after two of them (client-go: 30 s and 15 s). */
const PING_INTERVAL_MS = 15_000;
/** ms without another try after a connection failed: hundreds of instances ask at the same time. */
const RETRY_MS = 500;
/** A hundred watches fit on one connection (kube-apiserver allows 100 streams); this is for thousands. */
const MAX_CONNECTIONS = 64;

interface Connection {
  /** Of the credentials that it was made with. */
  readonly id: string;
  readonly session: ClientHttp2Session;
  readonly streams: Set<ClientHttp2Stream>;
  /** Whether there was an answer on it. */
  answered: boolean;
}

/** HTTP/2 connections to one API server: as few as its limit of streams allows, and only one is opened at a time. */
export class Connections {
  readonly #clock: Clock;
  readonly #connections = new Set<Connection>();
  #opening: { readonly id: string; readonly giveUp: AbortController; readonly done: Promise<void> } | undefined;
  #closed = false;
  #failure: { readonly id: string; readonly error: KmsError; readonly at: number } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Begins a request. Its place is free again when the stream closes.
   * @param signal - ends the wait for a connection; the caller ends the stream
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, `ERR_KMS_CLOSED`
   */
  async request(
    credentials: Credentials,
    headers: OutgoingHttpHeaders,
    hasBody: boolean,
    signal: AbortSignal,
  ): Promise<ClientHttp2Stream> {
    const { connectionId } = credentials;
    for (;;) {
      if (this.#closed) throw closed();
      this.#retireOthers(connectionId);
      const free = [...this.#connections].find(isUsable);
      if (free) return begin(free, headers, hasBody);
      const { id, done } = (this.#opening ??= this.#startOpening(credentials));
      // A failure with other credentials says nothing about these.
      await unlessAborted(id === connectionId ? done : done.catch(() => undefined), signal);
    }
  }

  close(): void {
    this.#closed = true;
    this.#opening?.giveUp.abort(closed());
    for (const { session } of this.#connections) session.destroy();
    this.#connections.clear();
  }

  /** After credentials have changed, requests go to new connections; what runs on the old ones ends there. */
  #retireOthers(id: string): void {
    for (const connection of this.#connections) {
      if (connection.id === id) continue;
      this.#connections.delete(connection);
      connection.session.close();
    }
  }

  #startOpening(credentials: Credentials) {
    const giveUp = new AbortController();
    const done = this.#open(credentials, giveUp).finally(() => (this.#opening = undefined));
    return { id: credentials.connectionId, giveUp, done };
  }

  async #open(credentials: Credentials, giveUp: AbortController): Promise<void> {
    const { connectionId: id } = credentials;
    if (this.#failure?.id === id && this.#clock.now() - this.#failure.at < RETRY_MS) throw this.#failure.error;
    if (this.#connections.size >= MAX_CONNECTIONS) {
      throw unavailable(`${credentials.server.origin}: all ${MAX_CONNECTIONS} connections to it are in use`);
    }
    let session: ClientHttp2Session;
    try {
      session = await openSession(credentials, this.#clock, giveUp);
    } catch (error) {
      if (this.#closed) throw closed();
      throw this.#failed(credentials, error as Error);
    }
    if (this.#closed) {
      session.destroy();
      throw closed();
    }
    const connection: Connection = { id, session, streams: new Set(), answered: false };
    this.#connections.add(connection);
    const gone = () => {
      this.#connections.delete(connection);
      if (!connection.answered) this.#failed(credentials, new Error('the connection was closed without an answer'));
    };
    session.on('goaway', gone).on('close', gone);
    if (session.closed || session.destroyed) gone();
  }

  #failed({ connectionId: id, server }: Credentials, cause: Error): KmsError {
    const remedy = `check that the API server ${server.origin} runs, and that this host reaches it`;
    const error = unavailable(`${server.origin}: ${cause.message}`, { cause, remedy });
    this.#failure = { id, error, at: this.#clock.now() };
    return error;
  }
}

const closed = (): KmsError => new KmsError('ERR_KMS_CLOSED', 'this key store was closed');

function isUsable({ session, streams }: Connection): boolean {
  return !session.closed && !session.destroyed && streams.size < (session.remoteSettings.maxConcurrentStreams ?? 100);
}

function begin(connection: Connection, headers: OutgoingHttpHeaders, hasBody: boolean): ClientHttp2Stream {
  const { session, streams } = connection;
  const stream = session.request(headers, { endStream: !hasBody });
  streams.add(stream);
  stream.once('response', () => (connection.answered = true)).on('close', () => streams.delete(stream));
  return stream;
}

async function openSession(credentials: Credentials, clock: Clock, late: AbortController): Promise<ClientHttp2Session> {
  const { server, ca, cert, key, servername, proxy } = credentials;
  const cancel = clock.after(CONNECT_TIMEOUT_MS, () => late.abort(new Error('no connection in time')));
  try {
    // Only this store needs it: 10 MB of memory, with TLS.
    const { connect } = await import('node:http2');
    const socket = proxy && (await connectThrough(proxy, server, ca, late.signal));
    const session = connect(server.origin, {
      ...(ca && { ca }),
      ...(cert && { cert }),
      ...(key && { key }),
      ...(servername !== undefined && { servername }),
      ...(socket && (server.protocol === 'https:' ? { socket } : { createConnection: () => socket })),
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
      rejectUnauthorized: true,
      settings: { enablePush: false },
    });
    await ready(session, late.signal);
    watchOver(session, clock);
    return session;
  } catch (error) {
    throw late.signal.aborted ? late.signal.reason : error;
  } finally {
    cancel();
  }
}

/** Resolves with the server's first SETTINGS. */
function ready(session: ClientHttp2Session, late: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    // Later errors reach the streams as well.
    session.on('error', reject).once('close', () => reject(new Error('the connection was closed at once')));
    session.once('remoteSettings', () => resolve());
    const giveUp = () => session.destroy(late.reason as Error);
    if (late.aborted) giveUp();
    else late.addEventListener('abort', giveUp, { once: true });
  });
}

function watchOver(session: ClientHttp2Session, clock: Clock): void {
  let answered = true;
  const look = (): void => {
    if (!answered) return session.destroy(new Error('the API server does not answer pings'), CANCEL);
    answered = false;
    session.ping(() => (answered = true));
    cancel = clock.after(PING_INTERVAL_MS, look);
  };
  let cancel = clock.after(PING_INTERVAL_MS, look);
  session.once('close', () => cancel());
}
