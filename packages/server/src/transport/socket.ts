import { randomBytes } from 'node:crypto';
import { chmodSync, lchownSync, lstatSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { distrustOfPlace, sleep, systemClock } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import { makeDirectory } from '../make-directory.ts';

/** `sizeof(sun_path)` without the final zero (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

/** Connections that came before the socket was removed are accepted for this long, in ms. Closing at once would reset them. */
const BACKLOG_MS = 20;

/** kube-apiserver has one connection for each provider of its configuration. A client that leaks connections must not use up all descriptors. */
export const MAX_CONNECTIONS = 128;

/** ms between two looks whether the socket is still there. */
const LOOK_MS = 1_000;

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
  /** Group of the socket. Default: the group of this process. */
  readonly gid?: number | undefined;
  /** Replaces a live server instead of refusing to start. */
  readonly takeOver: boolean;
  readonly onConnection: (socket: Socket) => void;
  /** Called for each connection that is refused, because there are {@link MAX_CONNECTIONS} already. */
  readonly onRefused?: () => void;
  readonly clock?: Clock;
  /** Called once if something else is at the path, or nothing: no client reaches this listener any more. It has been closed. */
  readonly onLost?: () => void;
}

/**
 * A Unix socket that is never stolen and never missing (design D13). It is bound under a temporary name, gets its mode and group, and
 * is renamed over the real path. That replaces a stale file, or the socket of a predecessor without a gap.
 */
export class SocketListener {
  readonly path: string;
  readonly #server: Server;
  readonly #clock: Clock;
  readonly #inode: string;
  #stopLooking = (): void => undefined;
  #closing: Promise<void> | undefined;

  private constructor({ path, onLost }: SocketOptions, server: Server, clock: Clock) {
    this.path = path;
    this.#server = server;
    this.#clock = clock;
    this.#inode = inodeOf(path) ?? '';
    if (onLost) this.#look(onLost);
  }

  /** @throws {@link SocketError} */
  static async listen(options: SocketOptions): Promise<SocketListener> {
    const { path, mode, gid, takeOver, onConnection, onRefused, clock = systemClock } = options;
    const problem = socketPathProblem(path);
    if (problem !== undefined) throw new SocketError('ERR_SOCKET_PATH', `${path}: ${problem}`);
    if (!takeOver && (await isLive(path))) {
      throw new SocketError(
        'ERR_SOCKET_IN_USE',
        `${path}: another process serves this socket; stop it, or start with --take-over to replace it`,
      );
    }
    const blocker = inPlaceOfSocket(path);
    if (blocker) throw new SocketError('ERR_SOCKET_PATH', `${path}: ${blocker.text}. Fix: ${blocker.remedy}`);
    const server = createServer({ allowHalfOpen: false }, onConnection);
    server.maxConnections = MAX_CONNECTIONS;
    if (onRefused) server.on('drop', onRefused);
    const temporary = temporaryNameFor(path);
    try {
      const made = makeDirectory(dirname(path));
      const distrust = distrustOfPlace(dirname(path));
      if (distrust) {
        const why = 'Whoever can replace the socket reads every seed that kube-apiserver sends.';
        throw new SocketError('ERR_SOCKET_PATH', `${path}: ${distrust.text}. ${why} Fix: ${distrust.remedy}`);
      }
      // Only now can nobody else have put a link in the place of one of them.
      if (gid !== undefined && made !== undefined) admitGroup(made, dirname(path), gid);
      await bind(server, temporary, mode);
      // Never through a link, should one have taken its place.
      if (gid !== undefined) lchownSync(temporary, -1, gid);
      renameSync(temporary, path);
    } catch (error) {
      server.close();
      if (error instanceof SocketError) throw error;
      throw new SocketError('ERR_SOCKET_BIND', `${path}: ${(error as Error).message}`, { cause: error });
    }
    return new SocketListener(options, server, clock);
  }

  /**
   * Removes the socket, unless a successor has replaced it, accepts the connections that wait in the kernel, and stops listening.
   * Open connections stay.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Once only: the file system may have given the inode to another socket since. */
  async #close(): Promise<void> {
    this.#stopLooking();
    try {
      if (inodeOf(this.path) === this.#inode) unlinkSync(this.path);
    } finally {
      await sleep(this.#clock, BACKLOG_MS);
      this.#server.close();
    }
  }

  /** systemd-tmpfiles, or a person, may remove the socket. Nothing tells its server. */
  #look(onLost: () => void): void {
    this.#stopLooking = this.#clock.after(LOOK_MS, () => {
      if (this.#isThere()) return this.#look(onLost);
      void this.close();
      onLost();
    });
  }

  /** Also where that cannot be told. */
  #isThere(): boolean {
    try {
      return inodeOf(this.path) === this.#inode;
    } catch {
      return true;
    }
  }
}

/**
 * A directory in the place of a socket, as a container runtime makes one for a bind mount of a file that is not there. Anything else there
 * is replaced.
 */
export function inPlaceOfSocket(path: string): { readonly text: string; readonly remedy: string } | undefined {
  try {
    if (!lstatSync(path).isDirectory()) return undefined;
  } catch {
    return undefined;
  }
  const remedy = `move aside what is in the place of the socket: ${path}`;
  return { text: 'a directory is in the place of the socket', remedy };
}

/** Lets a group enter the directories that were made for its socket, from `first` down to `last`. */
function admitGroup(first: string, last: string, gid: number): void {
  for (let path = last; path.startsWith(first); path = dirname(path)) {
    lchownSync(path, -1, gid);
    chmodSync(path, 0o750);
  }
}

/** Says why the kernel would refuse a socket path, if it would. */
export function socketPathProblem(path: string): string | undefined {
  const length = Buffer.byteLength(path);
  if (length <= MAX_SOCKET_PATH_BYTES) return undefined;
  return `expected a socket path of at most ${MAX_SOCKET_PATH_BYTES} bytes, found ${length} bytes`;
}

/** In the same directory, because rename does not work across file systems, and short. */
function temporaryNameFor(path: string): string {
  return join(dirname(path), `.${randomBytes(3).toString('hex')}`);
}

/** Binds a socket that has its mode from the start. */
function bind(server: Server, path: string, mode: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const umask = process.umask(0o777 & ~mode);
    try {
      // For a path, `listen` binds before it returns.
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
}

const NO_SERVER = new Set(['ECONNREFUSED', 'ENOENT', 'ENOTDIR']);

/** Whether a process accepts connections on `path`. Only a refusal means no: with a full backlog, for example, a process is there. */
export function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const answer = (live: boolean) => {
      socket.destroy();
      resolve(live);
    };
    socket.once('connect', () => answer(true));
    socket.once('error', ({ code }: NodeJS.ErrnoException) => answer(!NO_SERVER.has(code ?? '')));
  });
}

function inodeOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
  return stat && `${stat.dev}:${stat.ino}`;
}
