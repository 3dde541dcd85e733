import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../assert/until.ts';
import { Daemon } from './daemon.ts';
import { LIBRARIES, missing } from './token.ts';
import type { Token } from './token.ts';

const CLIENT = `${LIBRARIES}/pkcs11/p11-kit-client.so`;
const SERVER = '/usr/libexec/p11-kit/p11-kit-server';

/**
 * A token behind p11-kit's remoting: its module runs in `p11-kit-remote`, one process for each connection, and clients load
 * p11-kit-client.so, which speaks to it over a Unix socket. The client makes a connection for each thread that loads it, which has a login
 * of its own.
 */
export class P11KitServer implements Token {
  readonly env: Readonly<Record<string, string>>;
  readonly module = CLIENT;
  readonly label: string;
  readonly pin: string;
  readonly pinFile: string;
  readonly directory: string;
  readonly #token: Token;
  readonly #socket: string;
  #daemon: Daemon | undefined;

  private constructor(token: Token) {
    this.#token = token;
    this.label = token.label;
    this.pin = token.pin;
    this.pinFile = token.pinFile;
    this.directory = join(token.directory, 'p11-kit');
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    this.#socket = join(this.directory, 'socket');
    this.env = { P11_KIT_SERVER_ADDRESS: `unix:path=${this.#socket}` };
  }

  /** What a test lacks for it, and how to get that; see {@link missing}. */
  static missing(): string | undefined {
    return missing([CLIENT, SERVER], []);
  }

  /** @param token - in a directory without a long path: a Unix socket's has 107 bytes */
  static async start(token: Token): Promise<P11KitServer> {
    const server = new P11KitServer(token);
    await server.start();
    return server;
  }

  /** Starts it again after {@link P11KitServer.kill}. */
  async start(): Promise<void> {
    rmSync(this.#socket, { force: true });
    const daemon = new Daemon({
      name: 'p11-kit-server',
      command: SERVER,
      args: ['--foreground', '--name', this.#socket, '--provider', this.#token.module, 'pkcs11:'],
      logFile: join(this.directory, 'server.log'),
      env: this.#token.env,
    });
    this.#daemon = daemon;
    const opened = (): boolean => {
      daemon.checkRunning();
      return existsSync(this.#socket);
    };
    await until('p11-kit server has its socket', opened, { everyMs: 20 });
  }

  /** Processes that serve a connection. */
  get connections(): number[] {
    const pid = this.#daemon?.running === true ? String(this.#daemon.pid) : undefined;
    if (pid === undefined) return [];
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  }

  /** The host of the token is gone: server and connections. */
  async kill(): Promise<void> {
    const { connections } = this;
    await this.#daemon?.kill();
    for (const pid of connections) process.kill(pid, 'SIGKILL');
  }
}
