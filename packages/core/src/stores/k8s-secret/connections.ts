import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from 'node:http2';
import { KmsError, unavailable } from '../../errors.ts';
import { unlessAborted } from '../../util/abort.ts';
import type { Clock } from '../../util/clock.ts';
import { systemAuthorities } from '../../util/system-authorities.ts';
import { withTimeout } from '../../util/timeout.ts';
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
  /** Those that are open. */
  streams: number;
  /** Whether there was an answer on it. */
  answered: boolean;
}

/** HTTP/2 connections to one API server: as few as its limit of streams allows, and only one is opened at a time. */
export class Connections {
  readonly #clock: Clock;
  readonly #connections = new Set<Connection>();
  readonly #closing = new AbortController();
  #opening: { readonly id: string; readonly done: Promise<void> } | undefined;
  #failure: { readonly id: string; readonly error: KmsError; readonly at: number } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Begins a request. Its place is free again when the stream closes.
   * @param signal - ends the wait for a connection, and the stream
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, `ERR_KMS_CLOSED`
   */
  async request(
    credentials: Credentials,
    headers: OutgoingHttpHeaders,
    hasBody: boolean,
    signal: AbortSignal,
  ): Promise<ClientHttp2Stream> {
    const { connectionId: id } = credentials;
    for (;;) {
      this.#closing.signal.throwIfAborted();
      this.#retireOthers(id);
      const free = [...this.#connections].find(isUsable);
      if (free) return begin(free, headers, hasBody, signal);
      this.#opening ??= { id, done: this.#open(credentials).finally(() => (this.#opening = undefined)) };
      const { id: opening, done } = this.#opening;
      // A failure with other credentials says nothing about these.
      await unlessAborted(opening === id ? done : done.catch(() => undefined), signal);
    }
  }

  close(): void {
    this.#closing.abort(new KmsError('ERR_KMS_CLOSED', 'this key store was closed'));
  }

  /** After credentials have changed, requests go to new connections; what runs on the old ones ends there. */
  #retireOthers(id: string): void {
    for (const connection of this.#connections) {
      if (connection.id === id) continue;
      this.#connections.delete(connection);
      connection.session.close();
    }
  }

  async #open(credentials: Credentials): Promise<void> {
    const { connectionId: id, server } = credentials;
    const closing = this.#closing.signal;
    if (this.#failure?.id === id && this.#clock.now() - this.#failure.at < RETRY_MS) throw this.#failure.error;
    if (this.#connections.size >= MAX_CONNECTIONS) {
      throw unavailable(`${server.origin}: all ${MAX_CONNECTIONS} connections to it are in use`);
    }
    try {
      const session = await withTimeout(this.#clock, CONNECT_TIMEOUT_MS, 'the server', (late) =>
        openSession(credentials, this.#clock, AbortSignal.any([late, closing])),
      );
      const connection: Connection = { id, session, streams: 0, answered: false };
      const gone = () => {
        this.#connections.delete(connection);
        if (!connection.answered) this.#failed(credentials, new Error('the connection was closed without an answer'));
      };
      session.on('goaway', gone).on('close', gone);
      this.#connections.add(connection);
    } catch (cause) {
      closing.throwIfAborted();
      throw this.#failed(credentials, cause as Error);
    }
  }

  #failed({ connectionId: id, server }: Credentials, cause: Error): KmsError {
    const remedy = `check that the API server ${server.origin} runs, and that this host reaches it`;
    const error = unavailable(`${server.origin}: ${cause.message}`, { cause, remedy });
    this.#failure = { id, error, at: this.#clock.now() };
    return error;
  }
}

function isUsable({ session, streams }: Connection): boolean {
  return !session.closed && !session.destroyed && streams < (session.remoteSettings.maxConcurrentStreams ?? 100);
}

function begin(connection: Connection, headers: OutgoingHttpHeaders, hasBody: boolean, signal: AbortSignal) {
  const stream = connection.session.request(headers, { endStream: !hasBody, signal });
  connection.streams++;
  stream.once('response', () => (connection.answered = true)).once('close', () => connection.streams--);
  return stream.on('error', () => undefined);
}

/** @param signal - ends the attempt, and later the session */
async function openSession(credentials: Credentials, clock: Clock, signal: AbortSignal): Promise<ClientHttp2Session> {
  const { server, ca, cert, key, servername, proxy } = credentials;
  // Only this store needs it: 10 MB of memory, with TLS.
  const { connect } = await import('node:http2');
  const socket = proxy && (await connectThrough(proxy, server, ca, signal));
  const session = connect(server.origin, {
    ...(ca || server.protocol === 'http:' ? { ca, cert, key } : systemAuthorities({ cert, key })),
    servername,
    ...(socket && (server.protocol === 'https:' ? { socket } : { createConnection: () => socket })),
    // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
    rejectUnauthorized: true,
    settings: { enablePush: false },
  });
  const end = () => session.destroy(signal.reason as Error);
  signal.addEventListener('abort', end);
  session.once('close', () => signal.removeEventListener('abort', end));
  if (signal.aborted) end();
  await ready(session);
  watchOver(session, clock);
  return session;
}

/** Resolves with the server's first SETTINGS. */
async function ready(session: ClientHttp2Session): Promise<void> {
  const atOnce = new Error('the connection was closed at once');
  await new Promise<void>((resolve, reject) => {
    // Later errors reach the streams as well.
    session.on('error', reject).once('close', () => reject(atOnce));
    session.once('remoteSettings', () => resolve());
  });
  if (session.closed || session.destroyed) throw atOnce;
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
