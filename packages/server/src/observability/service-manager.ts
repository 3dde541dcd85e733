import type { Clock } from '@teapot-kms/core';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Logger } from 'pino';
import { describeError } from './logging.ts';

/** Sends `VARIABLE=VALUE` assignments of sd_notify(3) to a socket. */
export type Notify = (socket: string, assignments: readonly string[]) => Promise<void>;

/** ms for `systemd-notify`, which waits until systemd has read the message. */
const NOTIFY_TIMEOUT_MS = 10_000;

/** So many pings in the time after which systemd kills the plugin: one or two may fail, e.g. without memory for a process. */
const PINGS_PER_TIMEOUT = 4;

/**
 * Tells systemd that the plugin is ready, and then that its event loop turns, as sd_notify(3) and sd_watchdog_enabled(3) describe.
 * Does nothing where systemd did not start this process.
 */
export class ServiceManager {
  readonly #socket: string | undefined;
  readonly #pingMs: number | undefined;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #notify: Notify;
  #cancelPing = (): void => undefined;

  /** @param environment - of this process. Loses the variables of sd_notify, so that no child process speaks for this one. */
  constructor(environment: NodeJS.ProcessEnv, log: Logger, clock: Clock, notify: Notify = systemdNotify) {
    const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = environment;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) Reflect.deleteProperty(environment, name);
    this.#log = log;
    this.#clock = clock;
    this.#notify = notify;
    this.#socket = NOTIFY_SOCKET;
    const ours = WATCHDOG_PID === undefined || WATCHDOG_PID === String(process.pid);
    if (ours && WATCHDOG_USEC !== undefined && /^[1-9]\d{5,14}$/.test(WATCHDOG_USEC)) {
      this.#pingMs = Number(WATCHDOG_USEC) / 1_000 / PINGS_PER_TIMEOUT;
    }
  }

  /** @param status - what `systemctl status` shows */
  async ready(status: string): Promise<void> {
    await this.#tell('READY=1', `STATUS=${status}`);
    this.#pingLater();
  }

  /** systemd then waits for the end, and expects no more pings. */
  async stopping(): Promise<void> {
    this.#cancelPing();
    await this.#tell('STOPPING=1', 'STATUS=stopping');
  }

  #pingLater(): void {
    if (this.#pingMs === undefined) return;
    this.#cancelPing = this.#clock.after(this.#pingMs, () => {
      void this.#tell('WATCHDOG=1');
      this.#pingLater();
    });
  }

  async #tell(...assignments: string[]): Promise<void> {
    if (this.#socket === undefined) return;
    try {
      await this.#notify(this.#socket, assignments);
    } catch (error) {
      this.#log.warn({ error: describeError(error), assignments }, 'systemd was not told');
    }
  }
}

/** Node has no datagram sockets of the Unix family, so systemd's own program sends the message. */
async function systemdNotify(socket: string, assignments: readonly string[]): Promise<void> {
  const env = { PATH: process.env['PATH'], NOTIFY_SOCKET: socket };
  await promisify(execFile)('systemd-notify', assignments, { env, timeout: NOTIFY_TIMEOUT_MS, killSignal: 'SIGKILL' });
}
