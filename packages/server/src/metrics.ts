import type { ServiceDescription } from '@teapot-kms/core';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { keyIdHash } from './key-id-hash.ts';
import type { CallRecord } from './kms/endpoint.ts';
import { statusName } from './transport/seam.ts';
import { version } from './version.ts';

/** What an instance says of itself. */
export interface InstanceDescription extends ServiceDescription {
  readonly listening: boolean;
  readonly inFlight: number;
  /** Seconds since 1970, or 0 before the first key. */
  readonly keySince: number;
}

type Labels<Label extends string> = Partial<Record<Label, string | number>>;
type Collect<Label extends string> = (set: (labels: Labels<Label>, value: number) => void) => void;
type Describe = () => Iterable<readonly [instance: string, description: InstanceDescription]>;

/** Seconds; from a cached answer to kube-apiserver's deadline. */
const BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 3];

/**
 * What /metrics shows. Labels are bounded: instances, methods, status codes, keys of the keysets. A histogram is a dozen lines
 * for each set of labels, so those are of the whole process: with hundreds of instances a scrape would hold all of them up.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly configReloads = this.#counter('config_reloads_total', 'Changed configurations, by whether they were taken', [
    'result',
  ]);
  readonly #requests = this.#counter('requests_total', 'Calls that have ended', ['instance', 'api', 'method', 'code']);
  readonly #durations = new Histogram({
    name: 'teapot_kms_request_duration_seconds',
    help: 'Time between the complete request and its answer',
    labelNames: ['api', 'method'],
    buckets: BUCKETS,
    registers: [this.registry],
  });

  readonly #storeOperations = new Histogram({
    name: 'teapot_kms_store_operation_duration_seconds',
    help: 'Operations of the key store',
    labelNames: ['operation', 'ok'],
    buckets: BUCKETS,
    registers: [this.registry],
  });

  /** @param describe - what the instances look like at the time of a scrape */
  constructor(describe: Describe) {
    collectDefaultMetrics({ register: this.registry });
    this.#gauge('build_info', 'The plugin', ['version'], (set) => set({ version }, 1));
    this.#perInstance(describe);
  }

  called(instance: string, { endpoint: { api, method }, status, durationMs }: CallRecord): void {
    if (api === 'inspection') return;
    this.#requests.inc({ instance, api, method, code: statusName(status) });
    this.#durations.observe({ api, method }, durationMs / 1000);
  }

  /** Takes the counts of an instance that is no more out of the metrics. */
  async forget(instance: string): Promise<void> {
    const { values } = await this.#requests.get();
    for (const { labels } of values) if (labels.instance === instance) this.#requests.remove(labels);
  }

  storeOperation(operation: string, ok: boolean, durationMs: number): void {
    this.#storeOperations.observe({ operation, ok: String(ok) }, durationMs / 1000);
  }

  #perInstance(describe: Describe): void {
    const each = (fn: (instance: string, description: InstanceDescription) => void) => {
      for (const [instance, description] of describe()) fn(instance, description);
    };
    this.#gauge('key_info', 'The current key', ['instance', 'key_id', 'key_id_hash', 'key_uri'], (set) =>
      each((instance, { primary, uri }) => {
        if (primary !== undefined) set({ instance, key_id: primary, key_id_hash: keyIdHash(primary), key_uri: uri }, 1);
      }),
    );
    this.#gauge('last_good_probe_age_seconds', 'Time since the key store last answered well', ['instance'], (set) =>
      each((instance, { lastGoodProbeAgeMs }) => {
        if (lastGoodProbeAgeMs !== undefined) set({ instance }, lastGoodProbeAgeMs / 1000);
      }),
    );
    this.#gauge('socket_up', 'Whether the instance listens', ['instance'], (set) =>
      each((instance, { listening }) => set({ instance }, Number(listening))),
    );
    this.#gauge('calls_in_flight', 'Calls that have begun and not ended', ['instance'], (set) =>
      each((instance, { inFlight }) => set({ instance }, inFlight)),
    );
    this.#gauge('key_since_timestamp_seconds', 'When the current key became current here', ['instance'], (set) =>
      each((instance, { keySince }) => set({ instance }, keySince)),
    );
    const warnings = 'Trouble with the key store at present; the log and `teapot-kms status` say what';
    this.#gauge('warnings', warnings, ['instance'], (set) =>
      each((instance, description) => set({ instance }, description.warnings.length)),
    );
    const decrypts = 'Decrypts by key: when those of an old key stand still it may be retired';
    this.#counted('decrypts_total', decrypts, ['instance', 'key_id', 'key_id_hash'], (set) =>
      each((instance, { keys }) => {
        for (const { id, decrypts } of keys) set({ instance, key_id: id, key_id_hash: keyIdHash(id) }, decrypts);
      }),
    );
    const events = 'What happened with the key store: loads, failures, key switches, unwraps, ...';
    this.#counted('store_events_total', events, ['instance', 'event'], (set) =>
      each((instance, { counters }) => {
        for (const [event, value] of Object.entries(counters)) set({ instance, event }, value);
      }),
    );
  }

  #counter<Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> {
    return new Counter({ name: `teapot_kms_${name}`, help, labelNames, registers: [this.registry] });
  }

  /** A gauge that is looked up at each scrape. */
  #gauge<Label extends string>(name: string, help: string, labelNames: Label[], collect: Collect<Label>): void {
    const gauge: Gauge<Label> = new Gauge({
      name: `teapot_kms_${name}`,
      help,
      labelNames,
      registers: [this.registry],
      collect: () => {
        gauge.reset();
        collect((labels, value) => gauge.set(labels, value));
      },
    });
  }

  /** A counter that somebody else counts, looked up at each scrape. */
  #counted<Label extends string>(name: string, help: string, labelNames: Label[], collect: Collect<Label>): void {
    const counter: Counter<Label> = new Counter({
      name: `teapot_kms_${name}`,
      help,
      labelNames,
      registers: [this.registry],
      collect: () => {
        counter.reset();
        collect((labels, value) => counter.inc(labels, value));
      },
    });
  }
}
