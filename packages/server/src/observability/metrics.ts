import type { ServiceDescription } from '@teapot-kms/core';
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import { DurationHistogram } from './duration-histogram.ts';
import type { Durations } from './duration-histogram.ts';
import { keyIdHash } from '../kms/key-id-hash.ts';
import type { CallRecord, Endpoint } from '../kms/endpoint.ts';
import { statusName } from '../transport/seam.ts';
import type { GrpcStatusCode } from '../transport/seam.ts';
import { version } from '../version.ts';

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

/** The calls of one instance to one method: counted on the hot path, told at a scrape. */
interface Calls {
  readonly endpoint: Endpoint;
  readonly byStatus: Map<GrpcStatusCode, number>;
  readonly durations: Durations;
}

/**
 * What /metrics shows. Labels are bounded: instances, methods, status codes, keys of the keysets. A histogram is a dozen lines
 * for each set of labels, so those are of the whole process: with hundreds of instances a scrape would hold all of them up.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly configReloads = this.#counter('config_reloads_total', 'Changed configurations, by whether they were taken', [
    'result',
  ]);
  /** By instance and path. */
  readonly #calls = new Map<string, Map<string, Calls>>();
  readonly #durations = new DurationHistogram(
    'teapot_kms_request_duration_seconds',
    'Time between the complete request and its answer',
    this.registry,
  );
  readonly #storeOperations = new DurationHistogram(
    'teapot_kms_store_operation_duration_seconds',
    'Operations of the key store',
    this.registry,
  );

  /** @param describe - what the instances look like at the time of a scrape */
  constructor(describe: Describe) {
    collectDefaultMetrics({ register: this.registry });
    this.#gauge('build_info', 'The plugin', ['version'], (set) => set({ version }, 1));
    this.#perInstance(describe);
  }

  called(instance: string, { endpoint, status, durationMs }: CallRecord): void {
    if (endpoint.api === 'inspection') return;
    const { byStatus, durations } = this.#callsOf(instance, endpoint);
    byStatus.set(status, (byStatus.get(status) ?? 0) + 1);
    durations.observe(durationMs / 1000);
  }

  /** Takes the counts of an instance that is no more out of the metrics. */
  forget(instance: string): void {
    this.#calls.delete(instance);
  }

  storeOperation(operation: string, ok: boolean, durationMs: number): void {
    this.#storeOperations.with({ operation, ok: String(ok) }).observe(durationMs / 1000);
  }

  #callsOf(instance: string, endpoint: Endpoint): Calls {
    let ofInstance = this.#calls.get(instance);
    if (!ofInstance) this.#calls.set(instance, (ofInstance = new Map<string, Calls>()));
    let calls = ofInstance.get(endpoint.path);
    if (!calls) {
      const { api, method, path } = endpoint;
      calls = { endpoint, byStatus: new Map(), durations: this.#durations.with({ api, method }) };
      ofInstance.set(path, calls);
    }
    return calls;
  }

  #perInstance(describe: Describe): void {
    this.#counted('requests_total', 'Calls that have ended', ['instance', 'api', 'method', 'code'], (set) => {
      for (const [instance, ofInstance] of this.#calls) {
        for (const { endpoint, byStatus } of ofInstance.values()) {
          const { api, method } = endpoint;
          for (const [status, calls] of byStatus) set({ instance, api, method, code: statusName(status) }, calls);
        }
      }
    });
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
    this.#gauge('cached_local_keks', 'Local KEKs held open, with a key in a token', ['instance'], (set) =>
      each((instance, { cacheEntries }) => {
        if (cacheEntries !== undefined) set({ instance }, cacheEntries);
      }),
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
