import { KmsError } from '@teapot-kms/core';
import type { KmsService } from '@teapot-kms/core';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { InstanceConfig } from './config/schema.ts';
import { toHandler } from './kms/endpoint.ts';
import type { CallObserver } from './kms/endpoint.ts';
import { inspectionEndpoint } from './kms/inspection.ts';
import { v1beta1Endpoints } from './kms/v1beta1.ts';
import { v2Endpoints } from './kms/v2.ts';
import { CallLog } from './observability/call-log.ts';
import { describeError, logEvent } from './observability/logging.ts';
import type { InstanceDescription, Metrics } from './observability/metrics.ts';
import { openService } from './open-service.ts';
import type { InCommon } from './open-service.ts';
import { SocketListener } from './transport/socket.ts';
import { transports } from './transport/index.ts';
import type { Transport } from './transport/seam.ts';
import { version } from './version.ts';

/** ms of the grace at the end that are for key stores to close. */
const CLOSE_MS = 300;

/** ms between two tries to open a socket that could not be opened. */
const RETRY_MS = 10_000;

export interface InstanceOptions extends InCommon {
  readonly config: InstanceConfig;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** One kube-apiserver's plugin: a socket, both APIs on it, and the service behind them. Shares nothing with others. */
export class Instance {
  readonly config: InstanceConfig;
  readonly #service: KmsService;
  readonly #transport: Transport;
  readonly #log: Logger;
  #listener: SocketListener | undefined;
  #retry: NodeJS.Timeout | undefined;
  #stopped = false;
  #inFlight = 0;
  #keySince = 0;

  constructor({ config, log, metrics, ...inCommon }: InstanceOptions) {
    this.config = config;
    this.#log = log.child({ instance: config.name });
    this.#service = openService(config, inCommon, (event) => {
      if (event.type === 'store-operation') {
        metrics.storeOperation(event.operation, event.ok, event.durationMs);
      } else {
        if (event.type === 'key-switched') this.#keySince = Date.now() / 1000;
        logEvent(this.#log, event);
      }
    });
    const callLog = new CallLog(this.#log);
    const observer: CallObserver = {
      began: ({ method }) => {
        const bounded = method === 'Encrypt' || method === 'Decrypt';
        if (++this.#inFlight > config.maxCallsInFlight && bounded) {
          throw new KmsError('ERR_KMS_OVERLOADED', `${config.maxCallsInFlight} calls of this instance wait already`);
        }
      },
      ended: (record) => {
        this.#inFlight--;
        metrics.called(config.name, record);
        callLog.write(record);
      },
    };
    const endpoints = [
      ...v2Endpoints(this.#service, config.kmsV2Version),
      ...v1beta1Endpoints(this.#service),
      inspectionEndpoint(() => this.describe()),
    ];
    const routes = new Map(endpoints.map((endpoint) => [endpoint.path, toHandler(endpoint, observer)]));
    this.#transport = transports[config.transport](routes);
  }

  /**
   * Opens the socket; the key store is asked in the background, so that a store which is away cannot keep the plugin
   * from starting. A socket that cannot be opened is tried again until {@link Instance.stop}.
   * @returns why the first try failed
   */
  async start(takeOver: boolean): Promise<Error | undefined> {
    this.#service.start();
    return this.#listen(takeOver);
  }

  /** Lets calls under way finish, then wipes the keys; within `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    await this.#listener?.close();
    await this.#transport.drain(Math.max(0, graceMs - CLOSE_MS));
    await this.#service.close();
    this.#log.info('stopped');
  }

  setLogLevel(level: string): void {
    this.#log.level = level;
  }

  /** `ok`, or why not. */
  async health(): Promise<string> {
    try {
      return (await this.#service.status()).healthz;
    } catch (error) {
      return (error as Error).message;
    }
  }

  describe(): InstanceDescription & { readonly instance: string; readonly version: string; readonly pid: number } {
    return {
      instance: this.config.name,
      version,
      pid: process.pid,
      listening: this.#listener !== undefined,
      inFlight: this.#inFlight,
      keySince: this.#keySince,
      ...this.#service.describe(),
    };
  }

  async #listen(takeOver: boolean): Promise<Error | undefined> {
    const { socket: path, socketMode: mode, socketGroup: gid } = this.config;
    const onConnection = (socket: Socket): void => this.#transport.accept(socket);
    try {
      const listener = await SocketListener.listen({ path, mode, gid, takeOver, onConnection });
      if (this.#stopped) await listener.close();
      else this.#listener = listener;
      this.#log.info({ socket: path, keys: this.#service.describe().uri }, 'listening');
      return undefined;
    } catch (error) {
      this.#log.error({ error: describeError(error) }, 'the socket cannot be opened; trying again');
      if (!this.#stopped) this.#retry = setTimeout(() => void this.#listen(takeOver), RETRY_MS);
      return error as Error;
    }
  }
}
