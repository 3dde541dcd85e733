import { CryptoEngine, SharedResources, systemClock } from '@teapot-kms/core';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { Config, InstanceConfig } from './config/schema.ts';
import { Instance } from './instance.ts';
import { serveHttp } from './observability/http.ts';
import { describeError, logResourceEvent } from './observability/logging.ts';
import { Metrics } from './observability/metrics.ts';

/** The instances of a configuration in one process. The failure of an instance never affects another one. */
export class Plugin {
  readonly metrics: Metrics;
  readonly #log: Logger;
  readonly #shared: SharedResources;
  readonly #crypto: CryptoEngine;
  readonly #instances = new Map<string, Instance>();
  #config: Config;
  #stopHttp = (): void => undefined;
  /** The last change. Changes are applied one after the other. */
  #applying: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(config: Config, log: Logger, clock = systemClock) {
    this.#config = config;
    this.#log = log;
    this.#crypto = new CryptoEngine(config.crypto.engine);
    this.#shared = new SharedResources((event) => logResourceEvent(log, event), clock);
    this.metrics = new Metrics(() => [...this.#instances.values()].map((one) => one.describe()), clock);
  }

  /**
   * @param takeOver - replace live servers on the same sockets
   * @throws SocketError if no instance can listen
   */
  async start(takeOver: boolean): Promise<void> {
    const { http, instances } = this.#config;
    if (http !== false) {
      const health = () => Promise.all([...this.#instances.values()].map((one) => one.health()));
      const content = { metrics: () => this.metrics.text(), health };
      this.#stopHttp = serveHttp(http, content, this.#log, this.#shared.clock);
    }
    const failures = await Promise.all(instances.map((one) => this.#startInstance(one, takeOver)));
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
    await Promise.all([...this.#instances.values()].map((one) => one.stop(this.#config.shutdownGrace)));
    await this.#crypto.close();
    this.#stopHttp();
  }

  async #apply(config: Config): Promise<void> {
    if (this.#stopping) return;
    const before = this.#config;
    this.#config = config;
    const { instances, log, shutdownGrace } = config;
    this.#log.level = log.level;
    for (const instance of this.#instances.values()) instance.setLogLevel(log.level);
    for (const setting of ['http', 'crypto'] as const) {
      if (isDeepStrictEqual(before[setting], config[setting])) continue;
      this.#log.warn(`the change of "${setting}" takes effect at the next start`);
    }
    const changed = instances.filter((one) => !isDeepStrictEqual(this.#instances.get(one.name)?.config, one));
    const removed = [...this.#instances].filter(([name]) => !instances.some((one) => one.name === name));
    await Promise.all(changed.map((one) => this.#replaceInstance(one, shutdownGrace)));
    // Last, so that an instance that was only renamed hands over its socket.
    for (const [name] of removed) this.#instances.delete(name);
    await Promise.all(
      removed.map(async ([name, instance]) => {
        await instance.stop(shutdownGrace);
        this.metrics.forget(name);
      }),
    );
    const unchanged = instances.length - changed.length;
    this.#log.info({ changed: changed.length, removed: removed.length, unchanged }, 'configuration taken');
  }

  /** Without a gap: the new instance takes over the socket before the old one stops. */
  async #replaceInstance(config: InstanceConfig, graceMs: number): Promise<void> {
    const old = this.#instances.get(config.name);
    const ours = [...this.#instances.values()].some((instance) => instance.config.socket === config.socket);
    await this.#startInstance(config, ours);
    await old?.stop(graceMs);
  }

  async #startInstance(config: InstanceConfig, takeOver: boolean): Promise<Error | undefined> {
    try {
      const [log, metrics, shared, crypto] = [this.#log, this.metrics, this.#shared, this.#crypto];
      const instance = new Instance({ config, log, metrics, shared, crypto });
      this.#instances.set(config.name, instance);
      return await instance.start(takeOver);
    } catch (error) {
      this.#log.error({ instance: config.name, error: describeError(error) }, 'this instance cannot start');
      return error as Error;
    }
  }
}
