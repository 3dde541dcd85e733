import { CryptoEngine, HostRecords, SharedResources, sleep, systemClock } from '@teapot-kms/core';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '@teapot-kms/core';
import type { Logger } from 'pino';
import type { Config, InstanceConfig } from './config/schema.ts';
import { Instance } from './instance.ts';
import { serveHttp } from './observability/http.ts';
import type { AuditLog } from './observability/audit-log.ts';
import { describeError, logResourceEvent } from './observability/logging.ts';
import { Metrics } from './observability/metrics.ts';
import { isLive } from './transport/socket.ts';

/** Time between two attempts to load a key before a take-over, in ms. */
const RETRY_MS = 1_000;

/** Time until changed keys that could not be used are tried again, in ms. */
const HELD_BACK_MS = 30_000;

export interface PluginOptions {
  readonly clock?: Clock;
  /** Returns how many lines of the logs could not be written since the start. */
  readonly droppedLines?: () => number;
  readonly audit?: AuditLog | undefined;
}

/** The instances of a configuration in one process. The failure of an instance never affects another one. */
export class Plugin {
  readonly metrics: Metrics;
  readonly #log: Logger;
  readonly #shared: SharedResources;
  readonly #crypto: CryptoEngine;
  readonly #records: HostRecords;
  readonly #audit: AuditLog | undefined;
  readonly #instances = new Map<string, Instance>();
  #config: Config;
  #stopHttp = (): void => undefined;
  #cancelRetry: (() => void) | undefined;
  /** The last change. Changes are applied one after the other. */
  #applying: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(config: Config, log: Logger, { clock = systemClock, droppedLines = () => 0, audit }: PluginOptions = {}) {
    this.#audit = audit;
    this.#config = config;
    this.#log = log;
    this.#crypto = new CryptoEngine(config.crypto.engine);
    this.#records = new HostRecords(config.stateDirectory);
    this.#shared = new SharedResources((event) => logResourceEvent(log, event), clock);
    const describe = () => [...this.#instances.values()].map((one) => one.describe());
    this.metrics = new Metrics(describe, { clock, droppedLines });
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
    this.#applying = this.#applying
      .then(() => this.#apply(config))
      // Nothing that comes with a configuration ends the process.
      .catch((error: unknown) =>
        this.#log.error({ error: describeError(error) }, 'the configuration is not taken as a whole'),
      );
    return this.#applying;
  }

  /** Stops all instances: they accept no connections, finish the calls under way, and tell clients to reconnect elsewhere. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#applying;
    await Promise.all([...this.#instances.values()].map((one) => one.stop(this.#config.shutdownGrace)));
    await this.#crypto.close();
    this.#stopHttp();
    this.#cancelRetry?.();
  }

  async #apply(config: Config): Promise<void> {
    if (this.#stopping) return;
    const before = this.#config;
    this.#config = config;
    const { instances, log, shutdownGrace } = config;
    this.#log.level = log.level;
    for (const instance of this.#instances.values()) instance.setLogLevel(log.level);
    for (const setting of ['http', 'crypto', 'stateDirectory', 'audit'] as const) {
      if (isDeepStrictEqual(before[setting], config[setting])) continue;
      this.#log.warn(`the change of "${setting}" takes effect at the next start`);
    }
    if (before.log.format !== log.format) this.#log.warn('the change of "log.format" takes effect at the next start');
    const changed = instances.filter((one) => !isDeepStrictEqual(this.#instances.get(one.name)?.config, one));
    for (const one of instances) {
      const running = this.#instances.get(one.name);
      if (running && !changed.includes(one)) running.heldBack = undefined;
    }
    const gone = [...this.#instances.values()].filter(({ config: { name } }) => {
      const next = instances.find((one) => one.name === name);
      return !next || changed.includes(next);
    });
    await Promise.all(handOvers(gone, changed).map((one) => this.#handOver(one, shutdownGrace)));
    const removed = gone.filter(({ config: { name } }) => !instances.some((one) => one.name === name)).length;
    const unchanged = instances.length - changed.length;
    this.#log.info({ changed: changed.length, removed, unchanged }, 'configuration taken');
  }

  /**
   * Without a gap: new instances take over the sockets before the old ones stop, and load their keys before that. If one cannot, old ones that
   * can stay, under their old names: keys in use are never traded for none, nor for another keyset that nobody has confirmed.
   */
  async #handOver({ olds, configs }: HandOver, graceMs: number): Promise<void> {
    const nexts = configs.map((config) => this.#made(config));
    const errors = await Promise.all(nexts.map((next) => whyNot(next, olds)));
    const error = errors.find((one) => one !== undefined);
    if (error) {
      await Promise.all(nexts.map(async ({ next }) => next?.stop(0)));
      this.#holdBack(olds, error);
      return;
    }
    for (const next of nexts) await this.#startNext(next, olds);
    await Promise.all(olds.map((old) => this.#stopOld(old, graceMs)));
  }

  #made(config: InstanceConfig): Next {
    try {
      return { config, next: this.#newInstance(config) };
    } catch (error) {
      return { config, error: this.#cannotStart(config, error) };
    }
  }

  async #startNext({ config, next }: Next, olds: readonly Instance[]): Promise<void> {
    if (!next) return;
    try {
      this.#instances.set(config.name, next);
      await next.start(olds.some((old) => old.config.socket === config.socket));
    } catch (error) {
      this.#cannotStart(config, error);
    }
  }

  async #stopOld(old: Instance, graceMs: number): Promise<void> {
    const { name } = old.config;
    const isLast = this.#instances.get(name) === old;
    if (isLast) this.#instances.delete(name);
    await old.stop(graceMs);
    if (isLast) this.metrics.forget(name);
  }

  #holdBack(olds: readonly Instance[], error: Error): void {
    for (const old of olds) {
      old.heldBack = `the changed configuration of this instance is not in use: ${error.message}`;
      this.#log.error(
        { instance: old.config.name, error: describeError(error) },
        'the change is not used yet; the keys in use stay',
      );
    }
    this.#cancelRetry ??= this.#shared.clock.after(HELD_BACK_MS, () => {
      this.#cancelRetry = undefined;
      void this.apply(this.#config);
    });
  }

  async #startInstance(config: InstanceConfig, takeOver: boolean): Promise<Error | undefined> {
    try {
      const instance = this.#newInstance(config);
      this.#instances.set(config.name, instance);
      if (!takeOver || !(await isLive(config.socket))) return await instance.start(takeOver);
      // In the background: the other instances, and signals, do not wait for this one's key.
      this.#takeOverWithKey(instance).catch((error: unknown) => this.#cannotStart(config, error));
      return undefined;
    } catch (error) {
      return this.#cannotStart(config, error);
    }
  }

  /** A live server has its keys in memory: a successor takes its socket only once it has keys too. */
  async #takeOverWithKey(instance: Instance): Promise<void> {
    const { name, socket } = instance.config;
    let waiting = false;
    for (let error = await instance.prepare(); error && (await isLive(socket)); error = await instance.prepare()) {
      if (this.#stopping) return;
      const problem = { instance: name, error: describeError(error) };
      if (!waiting) this.#log.warn(problem, 'waiting for a key before taking over the socket');
      waiting = true;
      await sleep(this.#shared.clock, RETRY_MS);
    }
    await instance.start(true);
  }

  #cannotStart({ name }: InstanceConfig, error: unknown): Error {
    this.#log.error({ instance: name, error: describeError(error) }, 'this instance cannot start');
    return error as Error;
  }

  #newInstance(config: InstanceConfig): Instance {
    const [log, metrics, shared, crypto, records] = [
      this.#log,
      this.metrics,
      this.#shared,
      this.#crypto,
      this.#records,
    ];
    return new Instance({ config, log, metrics, shared, crypto, records, audit: this.#audit });
  }
}

/** Instances that stop, and the configurations of those that follow them. */
interface HandOver {
  readonly olds: readonly Instance[];
  readonly configs: readonly InstanceConfig[];
}

/** A new instance, or why there is none. */
interface Next {
  readonly config: InstanceConfig;
  readonly next?: Instance;
  readonly error?: Error;
}

/** Why a new instance must not follow old ones yet: it has no keys, and one of those has some. */
async function whyNot({ config, next, error }: Next, olds: readonly Instance[]): Promise<Error | undefined> {
  const predecessors = olds.filter((old) => succeeds(config, old));
  const problem = predecessors.length === 0 || !next ? error : await next.prepare();
  if (!problem) return undefined;
  const problemsOfOlds = await Promise.all(predecessors.map((old) => old.prepare()));
  return problemsOfOlds.includes(undefined) ? problem : undefined;
}

/** A name or a socket goes from one to the other: a renamed instance has the socket, one that moves has the name. */
const succeeds = (config: InstanceConfig, { config: old }: Instance): boolean =>
  config.name === old.name || config.socket === old.socket;

/** Puts together what depends on each other, such as two instances that exchange their sockets. */
function handOvers(olds: readonly Instance[], configs: readonly InstanceConfig[]): HandOver[] {
  let groups: HandOver[] = olds.map((old) => ({ olds: [old], configs: [] }));
  for (const config of configs) {
    const joined = groups.filter((group) => group.olds.some((old) => succeeds(config, old)));
    groups = [
      ...groups.filter((group) => !joined.includes(group)),
      {
        olds: joined.flatMap((group) => group.olds),
        configs: [...joined.flatMap((group) => group.configs), config],
      },
    ];
  }
  return groups;
}
