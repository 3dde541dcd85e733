import { CryptoEngine, HostRecords, inlineEngine, SharedResources, sleep, systemClock } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import type { Server } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { Config, InstanceConfig } from './config/schema.ts';
import { startHttp } from './observability/http.ts';
import { Instance } from './instance.ts';
import { describeError, logResourceEvent } from './observability/logging.ts';
import { Metrics } from './observability/metrics.ts';
import { isLive } from './transport/socket.ts';

/** Time between two attempts to open the HTTP port, and to load a key before a take-over, in ms. */
const RETRY_MS = 1_000;

/** Time until changed keys that could not be used are tried again, in ms. */
const HELD_BACK_MS = 30_000;

/** The instances of a configuration in one process. The failure of an instance never affects another one. */
export class Plugin {
  readonly #log: Logger;
  readonly #instances = new Map<string, Instance>();
  readonly #shared: SharedResources;
  readonly #clock: Clock;
  readonly metrics: Metrics;
  #crypto = inlineEngine;
  #records: HostRecords | undefined;
  #http: Server | undefined;
  #cancelHttpRetry: (() => void) | undefined;
  #cancelRetry: (() => void) | undefined;
  /** The last change. Changes are applied one after the other. */
  #applying: Promise<void> = Promise.resolve();
  #config: Config | undefined;
  #stopping = false;

  constructor(log: Logger, clock: Clock = systemClock) {
    this.#log = log;
    this.#clock = clock;
    this.#shared = new SharedResources((event) => logResourceEvent(this.#log, event), clock);
    const describe = () => [...this.#instances].map(([name, instance]) => [name, instance.describe()] as const);
    this.metrics = new Metrics(describe, clock);
  }

  /**
   * @param takeOver - replace live servers on the same sockets
   * @throws SocketError if no instance can listen
   */
  async start(config: Config, takeOver: boolean): Promise<void> {
    this.#config = config;
    this.#crypto = new CryptoEngine(config.crypto.engine);
    this.#records = new HostRecords(config.stateDirectory);
    void this.#startHttp(config.http);
    const failures = await Promise.all(config.instances.map((one) => this.#startInstance(one, takeOver)));
    const [first] = failures;
    if (first && failures.every((failure) => failure !== undefined)) throw first;
  }

  /** Applies a changed configuration. Instances that it does not change are not affected. */
  apply(config: Config): Promise<void> {
    this.#applying = this.#applying.then(() => this.#apply(config));
    return this.#applying;
  }

  /** Stops all instances: they accept no connections, finish the calls under way, and tell clients to reconnect elsewhere. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#applying;
    const graceMs = this.#config?.shutdownGrace ?? 0;
    await Promise.all([...this.#instances.values()].map((instance) => instance.stop(graceMs)));
    await this.#crypto.close();
    this.#cancelHttpRetry?.();
    this.#cancelRetry?.();
    this.#http?.closeAllConnections();
    this.#http?.close();
  }

  /** A port in use does not stop the plugin (design D16): it tries again. */
  async #startHttp(http: Config['http']): Promise<void> {
    if (http === false) return;
    const health = () =>
      Promise.all([...this.#instances].map(async ([name, instance]) => [name, await instance.health()] as const));
    try {
      const server = await startHttp({ ...http, metrics: () => this.metrics.text(), health });
      if (this.#stopping) server.close();
      else this.#http = server;
    } catch (error) {
      if (!this.#cancelHttpRetry) {
        this.#log.error(
          { error: describeError(error) },
          'health and metrics over HTTP are not available; trying again',
        );
      }
      if (!this.#stopping) this.#cancelHttpRetry = this.#clock.after(RETRY_MS, () => void this.#startHttp(http));
    }
  }

  async #apply(config: Config): Promise<void> {
    if (this.#stopping) return;
    const before = this.#config;
    this.#config = config;
    this.#log.level = config.log.level;
    for (const instance of this.#instances.values()) instance.setLogLevel(config.log.level);
    for (const setting of ['http', 'crypto', 'stateDirectory'] as const) {
      if (isDeepStrictEqual(before?.[setting], config[setting])) continue;
      this.#log.warn(`the change of "${setting}" takes effect at the next start`);
    }
    const wanted = new Map(config.instances.map((instance) => [instance.name, instance]));
    const changed = config.instances.filter(
      ({ name }) => !isDeepStrictEqual(this.#instances.get(name)?.config, wanted.get(name)),
    );
    const removed = [...this.#instances].filter(([name]) => !wanted.has(name));
    await Promise.all(changed.map((one) => this.#replaceInstance(one, config.shutdownGrace)));
    // Last, so that an instance that was only renamed hands over its socket.
    for (const [name] of removed) this.#instances.delete(name);
    await Promise.all(
      removed.map(async ([name, instance]) => {
        await instance.stop(config.shutdownGrace);
        this.metrics.forget(name);
      }),
    );
    const unchanged = config.instances.length - changed.length;
    this.#log.info({ changed: changed.length, removed: removed.length, unchanged }, 'configuration taken');
  }

  /**
   * Without a gap: the new instance takes over the socket before the old one stops. Where other keys are configured, it takes over only once it
   * has loaded them: keys in use are never traded for none, nor for another keyset that nobody has confirmed.
   */
  async #replaceInstance(config: InstanceConfig, graceMs: number): Promise<void> {
    const old = this.#instances.get(config.name);
    const ours = [...this.#instances.values()].some((instance) => instance.config.socket === config.socket);
    if (!old || isDeepStrictEqual(old.config.keys, config.keys)) await this.#startInstance(config, ours);
    else if (!(await this.#takeOverKeys(old, config, ours))) return;
    await old?.stop(graceMs);
  }

  /** @returns whether the new instance has taken over */
  async #takeOverKeys(old: Instance, config: InstanceConfig, takeOver: boolean): Promise<boolean> {
    const next = this.#newInstance(config);
    const error = await next.prepare();
    if (error) {
      await next.stop(0);
      old.heldBack = `the changed "keys" of the configuration (${config.keys.uri}) are not in use: ${error.message}`;
      this.#log.error(
        { instance: config.name, error: describeError(error) },
        'the changed keys are not used yet; the keys in use stay',
      );
      this.#cancelRetry ??= this.#clock.after(HELD_BACK_MS, () => {
        this.#cancelRetry = undefined;
        if (this.#config) void this.apply(this.#config);
      });
      return false;
    }
    this.#instances.set(config.name, next);
    await next.listen(takeOver);
    return true;
  }

  /** A live server has its keys in memory: a successor takes its socket only once it has keys too. */
  async #loadBeforeTakeOver(instance: Instance): Promise<void> {
    let waiting = false;
    for (let error = await instance.prepare(); error; error = await instance.prepare()) {
      const { name, socket } = instance.config;
      if (this.#stopping || !(await isLive(socket))) return;
      if (!waiting) {
        this.#log.warn(
          { instance: name, error: describeError(error) },
          'waiting for a key before taking over the socket',
        );
      }
      waiting = true;
      await sleep(this.#clock, RETRY_MS);
    }
  }

  #newInstance(config: InstanceConfig): Instance {
    const [log, metrics, shared, crypto, records] = [
      this.#log,
      this.metrics,
      this.#shared,
      this.#crypto,
      this.#records!,
    ];
    return new Instance({ config, log, metrics, shared, crypto, records });
  }

  async #startInstance(config: InstanceConfig, takeOver: boolean): Promise<Error | undefined> {
    try {
      const instance = this.#newInstance(config);
      this.#instances.set(config.name, instance);
      if (!takeOver || !(await isLive(config.socket))) return await instance.start(takeOver);
      await this.#loadBeforeTakeOver(instance);
      return await instance.listen(takeOver);
    } catch (error) {
      this.#log.error({ instance: config.name, error: describeError(error) }, 'this instance cannot start');
      return error as Error;
    }
  }
}
