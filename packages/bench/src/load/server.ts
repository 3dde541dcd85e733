import { Daemon } from '@teapot-kms/testing/daemons';
import type { DaemonOptions } from '@teapot-kms/testing/daemons';
import { readFileSync } from 'node:fs';
import { cpuSeconds } from './process-usage.ts';

/** Node warns that the clock jumped or a timer was invalid. Measurements around that time are invalid. */
const TIMER_WARNING = /Timeout(Negative|NaN|Overflow)Warning/g;

/** A process under load: the plugin or a peer. */
export class Server {
  readonly name: string;
  /** Socket of the first or only instance. */
  readonly socket: string;
  readonly daemon: Daemon;

  constructor(socket: string, options: DaemonOptions) {
    this.name = options.name;
    this.socket = socket;
    this.daemon = new Daemon(options);
  }

  get pid(): number {
    return this.daemon.pid!;
  }

  /** CPU that the process and its descendants have used so far. */
  cpuSeconds(): number {
    return cpuSeconds(this.pid);
  }

  timerWarnings(): number {
    return [...readFileSync(this.daemon.options.logFile, 'utf8').matchAll(TIMER_WARNING)].length;
  }

  async stop(): Promise<void> {
    await this.daemon.stop();
  }
}
