import { KmsError, replicaId } from '@teapot-kms/core';
import type { Clock, EventListener, KmsService, ReplicaReport } from '@teapot-kms/core';
import type { Socket } from 'node:net';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { storesOf } from './config/schema.ts';
import type { InstanceConfig } from './config/schema.ts';
import { foreignOwner } from './doctor/keyset-owner.ts';
import { toHandler } from './kms/endpoint.ts';
import type { CallObserver } from './kms/endpoint.ts';
import { inspectionEndpoints } from './kms/inspection.ts';
import { v1beta1Endpoints } from './kms/v1beta1.ts';
import { v2Endpoints } from './kms/v2.ts';
import type { AuditLog } from './observability/audit-log.ts';
import { CallLog } from './observability/call-log.ts';
import type { InstanceHealth } from './observability/http.ts';
import { LineLimit } from './observability/line-limit.ts';
import { describeError, logEvent } from './observability/logging.ts';
import type { InstanceDescription, Metrics } from './observability/metrics.ts';
import { openService } from './open-service.ts';
import type { ServiceParts } from './open-service.ts';
import { MAX_CONNECTIONS, SocketListener } from './transport/socket.ts';
import { transports } from './transport/index.ts';
import type { Transport } from './transport/seam.ts';
import { version } from './version.ts';

/** Part of the grace time that is for closing the key store, in ms. */
const CLOSE_MS = 300;

/** Time in ms after the key store was read until the audit log looks at the keys: the service takes them meanwhile. */
const AUDIT_MS = 1_000;

/** Time between two attempts to open the socket, in ms, and between two log lines about the same reason. */
const RETRY_MS = 1_000;
const REPEAT_MS = 60_000;

/** Lines of each second about unknown keys, which callers choose, and about the key store. */
const MAX_UNKNOWN_KEYS_PER_SECOND = 5;
const MAX_STORE_EVENTS_PER_SECOND = 20;
/** And about refused connections, which any client can cause. */
const MAX_REFUSED_PER_SECOND = 1;

export interface InstanceOptions extends Omit<ServiceParts, 'onEvent'> {
  readonly config: InstanceConfig;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly audit?: AuditLog | undefined;
}

/** The plugin of one kube-apiserver: a socket with both APIs, and their service. */
export class Instance {
  readonly config: InstanceConfig;
  readonly #service: KmsService;
  readonly #transport: Transport;
  readonly #log: Logger;
  readonly #clock: Clock;
  #listener: SocketListener | undefined;
  /** Why there is no listener, and when that was last logged. */
  #notListening: { readonly problem: string; readonly loggedAt: number } | undefined;
  #cancelRetry: () => void = () => undefined;
  #started = false;
  #stopped = false;
  #inFlight = 0;
  #refusedConnections = 0;
  readonly #refusals: LineLimit;
  #keySince = 0;
  readonly #audit: AuditLog | undefined;
  #cancelAudit: (() => void) | undefined;
  /** Why the configuration that is to replace this one is not in use. */
  heldBack: string | undefined;

  constructor({ config, log, metrics, shared, crypto, records, audit }: InstanceOptions) {
    this.config = config;
    this.#audit = audit;
    const clock = (this.#clock = shared.clock);
    this.#log = log.child({ instance: config.name });
    const limit = (perSecond: number, text: string) => new LineLimit({ log: this.#log, clock, perSecond, text });
    const unknownKeys = limit(MAX_UNKNOWN_KEYS_PER_SECOND, 'Decrypts named more unknown keys in this second');
    const storeEvents = limit(MAX_STORE_EVENTS_PER_SECOND, 'the key store had more events in this second');
    this.#refusals = limit(MAX_REFUSED_PER_SECOND, 'more connections were refused in this second');
    const onEvent: EventListener = (event) => {
      if (event.type === 'store-operation') {
        metrics.storeOperation(event.operation, event.ok, event.durationMs);
        if (event.operation === 'load' || event.operation === 'describe') this.#auditKeys();
      } else {
        if (event.type === 'key-switched') {
          this.#keySince = clock.wall() / 1000;
          audit?.write('key-switched', { instance: config.name, from: event.from, to: event.to });
        }
        if (!(event.type === 'unknown-key' ? unknownKeys : storeEvents).mayWrite()) return;
        logEvent(this.#log, event);
        if (event.type === 'unknown-key') audit?.write('unknown-key', { instance: config.name, keyId: event.keyId });
      }
    };
    this.#service = openService(config, { shared, crypto, records, onEvent });
    const callLog = new CallLog(this.#log, clock);
    const observer: CallObserver = {
      began: ({ method }) => {
        const bounded = method === 'Encrypt' || method === 'Decrypt';
        if (++this.#inFlight <= config.maxCallsInFlight || !bounded) return;
        const problem = `${config.maxCallsInFlight} calls of this instance are waiting already`;
        throw new KmsError('ERR_KMS_OVERLOADED', problem);
      },
      ended: (record) => {
        this.#inFlight--;
        metrics.called(config.name, record);
        callLog.write(record);
        audit?.called(config.name, record);
      },
    };
    const endpoints = [
      ...v2Endpoints(this.#service, config.kmsV2Version, clock),
      ...v1beta1Endpoints(this.#service),
      ...inspectionEndpoints({ describe: () => this.describe(), report: (nonce) => this.#report(nonce) }),
    ];
    const routes = new Map(endpoints.map((endpoint) => [endpoint.path, toHandler(endpoint, observer, clock)]));
    this.#transport = transports[config.transport](routes, { clock, maxCalls: config.maxCallsInFlight });
  }

  /**
   * Opens the socket. The key store is loaded in the background, so that an unreachable store does not delay the start. Tries to open
   * the socket until {@link Instance.stop}.
   * @returns the error of the first attempt
   */
  async start(takeOver: boolean): Promise<Error | undefined> {
    // It was replaced before its socket was opened: the successor has the path.
    if (this.#stopped) return undefined;
    this.#startService();
    return this.#listen(takeOver);
  }

  /**
   * Loads the keys of an instance that is to replace another one, before it takes over the socket. May be called again.
   * @returns the error if it has no key to encrypt with, or lacks the keys of a store that only decrypts
   */
  async prepare(): Promise<Error | undefined> {
    this.#startService();
    try {
      await this.#service.ready();
      await this.#service.status();
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  /** Lets calls under way finish for at most `graceMs`, then wipes the keys. */
  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    this.#cancelRetry();
    this.#cancelAudit?.();
    // Where the socket cannot be removed, the calls must end and the keys be wiped all the same.
    await this.#listener?.close().catch((error: unknown) => {
      this.#log.error({ error: describeError(error) }, 'the socket cannot be closed');
    });
    await this.#transport.drain(Math.max(0, graceMs - CLOSE_MS));
    await this.#service.close();
    this.#log.info('stopped');
  }

  setLogLevel(level: string): void {
    this.#log.level = level;
  }

  /** `healthz` is `ok`, or the reason why not. */
  async health(): Promise<InstanceHealth> {
    const { name } = this.config;
    if (!this.#listener) return { name, healthz: this.#notListening?.problem ?? 'the socket is not open yet' };
    try {
      return { name, healthz: (await this.#service.status()).healthz };
    } catch (error) {
      return { name, healthz: (error as Error).message };
    }
  }

  describe(): InstanceDescription {
    const described = this.#service.describe();
    return {
      instance: this.config.name,
      version,
      pid: process.pid,
      listening: this.#listener !== undefined,
      inFlight: this.#inFlight,
      keySince: this.#keySince,
      connections: {
        refused: this.#refusedConnections,
        ended: Object.fromEntries(this.#transport.violations ?? []),
      },
      ...described,
      warnings: [...(this.heldBack === undefined ? [] : [this.heldBack]), ...described.warnings],
    };
  }

  #report(nonce: string): ReplicaReport {
    const time = new Date(this.#clock.wall()).toISOString();
    return this.#service.report({ replica: replicaId(this.config.socket), host: hostname(), time, nonce });
  }

  #auditKeys(): void {
    const audit = this.#audit;
    if (!audit || this.#cancelAudit || this.#stopped) return;
    this.#cancelAudit = this.#clock.after(AUDIT_MS, () => {
      this.#cancelAudit = undefined;
      audit.keys(this.config.name, this.#service.describe().keys);
    });
  }

  #startService(): void {
    if (!this.#started) this.#service.start();
    if (!this.#started && process.geteuid?.() === 0) void this.#checkOwner();
    this.#started = true;
  }

  async #checkOwner(): Promise<void> {
    for (const keys of storesOf(this.config)) {
      const found = await foreignOwner(keys, 0);
      if (found) this.#log.warn({ remedy: found.remedy }, found.text);
    }
  }

  async #listen(takeOver: boolean): Promise<Error | undefined> {
    const { socket: path, socketMode: mode, socketGroup: gid } = this.config;
    const onConnection = (socket: Socket): void => this.#transport.accept(socket);
    const onRefused = (): void => this.#refusedConnection();
    try {
      const clock = this.#clock;
      const onLost = (): void => this.#lostSocket();
      const listener = await SocketListener.listen({
        path,
        mode,
        gid,
        takeOver,
        onConnection,
        onRefused,
        clock,
        onLost,
      });
      if (this.#stopped) await listener.close();
      else this.#listener = listener;
      this.#notListening = undefined;
      this.#log.info({ socket: path, keys: this.#service.describe().uri }, 'listening');
      return undefined;
    } catch (error) {
      this.#cannotListen(error as Error);
      // Nothing else may keep the process alive, and the keys in its memory may be the last ones.
      if (!this.#stopped) this.#cancelRetry = this.#clock.after(RETRY_MS, () => void this.#listen(takeOver), true);
      return error as Error;
    }
  }

  #refusedConnection(): void {
    this.#refusedConnections++;
    if (!this.#refusals.mayWrite()) return;
    const text = `a connection was refused: the socket has ${MAX_CONNECTIONS} already (ss -xp shows whose), and kube-apiserver needs one`;
    this.#log.warn({ socket: this.config.socket }, text);
  }

  #cannotListen(error: Error): void {
    const problem = error.message;
    const [now, last] = [this.#clock.now(), this.#notListening];
    if (last?.problem === problem && now - last.loggedAt < REPEAT_MS) return;
    this.#log.error({ error: describeError(error) }, 'cannot open the socket; trying again');
    this.#notListening = { problem, loggedAt: now };
  }

  /** Never over a live successor: it may have been started with --take-over. */
  #lostSocket(): void {
    this.#listener = undefined;
    if (this.#stopped) return;
    this.#log.warn({ socket: this.config.socket }, 'the socket was removed or replaced; opening it again');
    void this.#listen(false);
  }
}
