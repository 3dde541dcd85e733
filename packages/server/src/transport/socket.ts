import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** `sizeof(sun_path)` less the final zero (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

/** ms in which connections that came before the socket was removed are still taken: closing at once would reset them. */
const BACKLOG_MS = 20;

/** A kube-apiserver has one connection for each provider of its configuration; a client that leaks them must not take all descriptors. */
const MAX_CONNECTIONS = 128;

export type SocketErrorCode = 'ERR_SOCKET_IN_USE' | 'ERR_SOCKET_PATH' | 'ERR_SOCKET_BIND';

export class SocketError extends Error {
  override readonly name = 'SocketError';
  readonly code: SocketErrorCode;

  constructor(code: SocketErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

export interface SocketOptions {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  /** Group that the socket gets; our own where it is not given. */
  readonly gid?: number | undefined;
  /** Replace a live server instead of refusing to start. */
  readonly takeOver: boolean;
  readonly onConnection: (socket: Socket) => void;
}

/**
 * A Unix socket that is never stolen and never missing (design D13): it is bound under a temporary name, given its mode and group, and
 * renamed over the real path, which replaces a stale file as well as a predecessor's socket without a gap.
 */
export class SocketListener {
  readonly path: string;
  readonly #server: Server;
  readonly #inode: string;

  private constructor(path: string, server: Server) {
    this.path = path;
    this.#server = server;
    this.#inode = inodeOf(path) ?? '';
  }

  /** @throws {@link SocketError} */
  static async listen(options: SocketOptions): Promise<SocketListener> {
    const { path, mode, gid, takeOver, onConnection } = options;
    checkSocketPath(path);
    if (!takeOver && (await isLive(path))) {
      throw new SocketError(
        'ERR_SOCKET_IN_USE',
        `${path}: another process serves this socket (--take-over replaces it)`,
      );
    }
    const server = createServer({ allowHalfOpen: false }, onConnection);
    server.maxConnections = MAX_CONNECTIONS;
    const temporary = temporaryNameFor(path);
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      await bind(server, temporary);
      chmodSync(temporary, mode);
      if (gid !== undefined) chownSync(temporary, -1, gid);
      renameSync(temporary, path);
    } catch (error) {
      server.close();
      throw new SocketError('ERR_SOCKET_BIND', `${path}: ${(error as Error).message}`, { cause: error });
    }
    return new SocketListener(path, server);
  }

  /**
   * Removes the socket, unless a successor's lies there by now, takes the connections that the kernel has accepted
   * already, and stops listening. Open connections go on.
   */
  async close(): Promise<void> {
    if (inodeOf(this.path) === this.#inode) unlinkSync(this.path);
    await sleep(BACKLOG_MS);
    this.#server.close();
  }
}

/** @throws {@link SocketError} `ERR_SOCKET_PATH` */
export function checkSocketPath(path: string): void {
  const length = Buffer.byteLength(path);
  if (length > MAX_SOCKET_PATH_BYTES) {
    const message = `${path}: a socket path may have at most ${MAX_SOCKET_PATH_BYTES} bytes, this one has ${length}`;
    throw new SocketError('ERR_SOCKET_PATH', message);
  }
}

/** In the same directory, as rename demands, and no longer than the shortest sensible name. */
function temporaryNameFor(path: string): string {
  return join(dirname(path), `.${randomBytes(3).toString('hex')}`);
}

/** Binds while no other user may connect: the mode is set before the socket gets its real name anyway. */
function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const umask = process.umask(0o177);
    try {
      // For a path, listen() binds before it returns.
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
}

const NOBODY = new Set(['ECONNREFUSED', 'ENOENT', 'ENOTDIR']);

/** Whether somebody accepts connections there: only a refusal says no, a full backlog for instance does not. */
function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const answer = (live: boolean) => {
      socket.destroy();
      resolve(live);
    };
    socket.once('connect', () => answer(true));
    socket.once('error', ({ code }: NodeJS.ErrnoException) => answer(!NOBODY.has(code ?? '')));
  });
}

function inodeOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
  return stat && `${stat.dev}:${stat.ino}`;
}
