import { CryptoEngine, inlineEngine, SharedResources } from '@teapot-kms/core';
import type { Server } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { Config, InstanceConfig } from './config/schema.ts';
import { startHttp } from './observability/http.ts';
import { Instance } from './instance.ts';
import { describeError, logResourceEvent } from './observability/logging.ts';
import { Metrics } from './observability/metrics.ts';

/** ms between two tries to open the HTTP port. */
const RETRY_MS = 1_000;

/** All instances of one process, as a configuration names them. An instance that fails never touches another's. */
export class Plugin {
  readonly #log: Logger;
  readonly #instances = new Map<string, Instance>();
  readonly #shared = new SharedResources((event) => logResourceEvent(this.#log, event));
  readonly metrics = new Metrics(() =>
    [...this.#instances].map(([name, instance]) => [name, instance.describe()] as const),
  );
  #crypto = inlineEngine;
  #http: Server | undefined;
  #httpRetry: NodeJS.Timeout | undefined;
  /** Changes are applied one after the other. */
  #applying: Promise<void> = Promise.resolve();
  #config: Config | undefined;
  #stopping = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * @param takeOver - replace live servers on the same sockets
   * @throws SocketError when not a single instance can listen
   */
  async start(config: Config, takeOver: boolean): Promise<void> {
    this.#config = config;
    this.#crypto = new CryptoEngine(config.crypto.engine);
    void this.#startHttp(config.http);
    const failures = await Promise.all(config.instances.map((one) => this.#startInstance(one, takeOver)));
    const [first] = failures;
    if (first && failures.every((failure) => failure !== undefined)) throw first;
  }

  /** Makes the running instances what `config` says; those that it does not change notice nothing. */
  apply(config: Config): Promise<void> {
    this.#applying = this.#applying.then(() => this.#apply(config));
    return this.#applying;
  }

  /** Stops all instances: no new connections, calls under way finish, clients are told to go elsewhere. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#applying;
    const graceMs = this.#config?.shutdownGrace ?? 0;
    await Promise.all([...this.#instances.values()].map((instance) => instance.stop(graceMs)));
    await this.#crypto.close();
    clearTimeout(this.#httpRetry);
    this.#http?.closeAllConnections();
    this.#http?.close();
  }

  /** A port that is taken must not keep a cluster's keys from it: the plugin goes on, and tries again. */
  async #startHttp(http: Config['http']): Promise<void> {
    if (http === false) return;
    const health = () =>
      Promise.all([...this.#instances].map(async ([name, instance]) => [name, await instance.health()] as const));
    try {
      const server = await startHttp({ ...http, registry: this.metrics.registry, health });
      if (this.#stopping) server.close();
      else this.#http = server;
    } catch (error) {
      if (!this.#httpRetry) {
        this.#log.error({ error: describeError(error) }, 'no health and metrics over HTTP; trying again');
      }
      if (!this.#stopping) this.#httpRetry = setTimeout(() => void this.#startHttp(http), RETRY_MS);
    }
  }

  async #apply(config: Config): Promise<void> {
    if (this.#stopping) return;
    const before = this.#config;
    this.#config = config;
    this.#log.level = config.log.level;
    for (const instance of this.#instances.values()) instance.setLogLevel(config.log.level);
    for (const setting of ['http', 'crypto'] as const) {
      if (isDeepStrictEqual(before?.[setting], config[setting])) continue;
      this.#log.warn(`a change of "${setting}" takes effect at the next start`);
    }
    const wanted = new Map(config.instances.map((instance) => [instance.name, instance]));
    const changed = config.instances.filter(
      ({ name }) => !isDeepStrictEqual(this.#instances.get(name)?.config, wanted.get(name)),
    );
    const removed = [...this.#instances].filter(([name]) => !wanted.has(name));
    await Promise.all(changed.map((one) => this.#replaceInstance(one, config.shutdownGrace)));
    // Last, so that an instance that was only renamed hands its socket over.
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

  /** The new one takes the socket over before the old one lets go of its calls: no gap. */
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
