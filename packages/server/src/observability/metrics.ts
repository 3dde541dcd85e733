import { systemClock } from '@teapot-kms/core';
import type { Clock, ServiceDescription, ServiceEvent } from '@teapot-kms/core';
import { keyIdHash } from '../kms/key-id-hash.ts';
import type { CallRecord } from '../kms/endpoint.ts';
import { GrpcStatus, statusName } from '../transport/seam.ts';
import type { GrpcStatusCode } from '../transport/seam.ts';
import { version } from '../version.ts';
import { addProcessMetrics } from './process-metrics.ts';
import { Registry } from './prometheus.ts';
import type { Durations } from './prometheus.ts';

/** The state of an instance, for metrics and for `teapot-kms status`. */
export interface InstanceDescription extends ServiceDescription {
  readonly listening: boolean;
  readonly inFlight: number;
  /** Seconds since 1970, or 0 before the first key. */
  readonly keySince: number;
}

type Describe = () => Iterable<readonly [instance: string, description: InstanceDescription]>;
type StoreOperation = Extract<ServiceEvent, { type: 'store-operation' }>['operation'];

const METHODS = { v2: ['Status', 'Encrypt', 'Decrypt'], v1beta1: ['Version', 'Encrypt', 'Decrypt'] } as const;
const STORE_OPERATIONS: readonly StoreOperation[] = ['load', 'describe', 'wrap', 'unwrap'];
const RELOAD_RESULTS = ['taken', 'refused'] as const;

/** The calls of one instance to one method. */
interface Calls {
  readonly api: keyof typeof METHODS;
  readonly method: string;
  readonly byStatus: Map<GrpcStatusCode, number>;
  readonly durations: Durations;
}

/**
 * The content of /metrics. Labels are bounded: instances, methods, status codes, keys of the keysets. A histogram has a dozen lines
 * for each set of labels, so histograms are for the whole process: with hundreds of instances a scrape would delay all of them.
 */
export class Metrics {
  readonly #registry = new Registry();
  readonly #describe: Describe;
  /** The instances as they are at this scrape. */
  #instances: readonly (readonly [instance: string, description: InstanceDescription])[] = [];
  /** By instance and path. */
  readonly #calls = new Map<string, ReadonlyMap<string, Calls>>();
  readonly #reloads = new Map<(typeof RELOAD_RESULTS)[number], number>(RELOAD_RESULTS.map((result) => [result, 0]));
  readonly #durations = this.#registry.histogram(
    'teapot_kms_request_duration_seconds',
    'Time between the complete request and its answer.',
  );
  readonly #storeOperations = this.#registry.histogram(
    'teapot_kms_store_operation_duration_seconds',
    'Duration of operations of the key store.',
  );

  /** @param describe - returns the instances as they are at the time of a scrape */
  constructor(describe: Describe, clock: Clock = systemClock) {
    this.#describe = describe;
    for (const operation of STORE_OPERATIONS)
      for (const ok of ['true', 'false']) this.#storeOperations.with({ operation, ok });
    addProcessMetrics(this.#registry, clock);
    this.#addProcessWide();
    this.#addCalls();
    this.#addInstances();
    this.#addKeys();
  }

  /** The text of a scrape; {@link Registry.contentType} is its type. */
  text(): string {
    this.#instances = [...this.#describe()];
    return this.#registry.text();
  }

  /** Counts a call. Calls of `status` and `doctor` are not counted. */
  called(instance: string, { endpoint, status, durationMs }: CallRecord): void {
    const calls = this.#callsOf(instance).get(endpoint.path);
    if (!calls) return;
    calls.byStatus.set(status, calls.byStatus.get(status)! + 1);
    calls.durations.observe(durationMs / 1000);
  }

  /** Removes the counts of an instance that is gone. */
  forget(instance: string): void {
    this.#calls.delete(instance);
  }

  storeOperation(operation: StoreOperation, ok: boolean, durationMs: number): void {
    this.#storeOperations.with({ operation, ok: String(ok) }).observe(durationMs / 1000);
  }

  configReloaded(result: (typeof RELOAD_RESULTS)[number]): void {
    this.#reloads.set(result, this.#reloads.get(result)! + 1);
  }

  #callsOf(instance: string): ReadonlyMap<string, Calls> {
    let calls = this.#calls.get(instance);
    if (!calls) this.#calls.set(instance, (calls = new Map(this.#newCalls())));
    return calls;
  }

  *#newCalls(): Generator<[path: string, Calls]> {
    for (const api of ['v2', 'v1beta1'] as const) {
      for (const method of METHODS[api]) {
        const byStatus = new Map(Object.values(GrpcStatus).map((status) => [status, 0]));
        yield [
          `/${api}.KeyManagementService/${method}`,
          { api, method, byStatus, durations: this.#durations.with({ api, method }) },
        ];
      }
    }
  }

  #addProcessWide(): void {
    this.#registry.gauge('teapot_kms_build_info', 'Version of the plugin.', (emit) => emit({ version }, 1));
    this.#registry.counter(
      'teapot_kms_config_reloads_total',
      'Changed configurations, by whether they were taken or refused.',
      (emit) => this.#reloads.forEach((count, result) => emit({ result }, count)),
    );
  }

  /** Series of KMS v1, which few clusters use, begin with the first call of an instance; all others are there from the start. */
  #addCalls(): void {
    this.#registry.counter('teapot_kms_requests_total', 'Calls that have ended.', (emit) => {
      for (const [instance] of this.#instances) this.#callsOf(instance);
      for (const [instance, calls] of this.#calls) {
        const usesV1 = [...calls.values()].some(({ api, byStatus }) => api === 'v1beta1' && sum(byStatus.values()) > 0);
        for (const { api, method, byStatus } of calls.values()) {
          if (api === 'v1beta1' && !usesV1) continue;
          for (const [status, count] of byStatus) emit({ instance, api, method, code: statusName(status) }, count);
        }
      }
    });
  }

  #addInstances(): void {
    this.#perInstance(
      'last_good_probe_age_seconds',
      'Time since the last good answer of the key store; +Inf before the first one.',
      ({ lastGoodProbeAgeMs }) => (lastGoodProbeAgeMs ?? Infinity) / 1000,
    );
    this.#perInstance('socket_up', 'Whether the instance listens on its socket.', (one) => Number(one.listening));
    this.#perInstance('calls_in_flight', 'Calls that have begun and not ended.', ({ inFlight }) => inFlight);
    const warnings = 'Present trouble with the key store. The log and `teapot-kms status` show what it is.';
    this.#perInstance('warnings', warnings, (description) => description.warnings.length);
    this.#perInstance('cached_local_keks', 'Local KEKs in the cache, for a key in a token.', (one) => one.cacheEntries);
    this.#perInstance(
      'key_since_timestamp_seconds',
      'When the current key became current here, in seconds since 1970; 0 before the first key.',
      ({ keySince }) => keySince,
    );
    const events = 'Events of the key store: loads, failures, key switches, unwraps and others.';
    this.#registry.counter('teapot_kms_store_events_total', events, (emit) => {
      for (const [instance, { counters }] of this.#instances) {
        for (const [event, count] of Object.entries(counters)) emit({ instance, event }, count);
      }
    });
  }

  #addKeys(): void {
    this.#registry.gauge('teapot_kms_key_info', 'The current key.', (emit) => {
      for (const [instance, { primary, uri }] of this.#instances) {
        if (primary === undefined) continue;
        emit({ instance, key_id: primary, key_id_hash: keyIdHash(primary), key_uri: uri }, 1);
      }
    });
    const decrypts = 'Decrypts by key. An old key whose count no longer grows may be retired.';
    this.#registry.counter('teapot_kms_decrypts_total', decrypts, (emit) => {
      for (const [instance, { keys }] of this.#instances) {
        for (const { id, decrypts } of keys) emit({ instance, key_id: id, key_id_hash: keyIdHash(id) }, decrypts);
      }
    });
  }

  /** A gauge with one series for each instance whose value is not `undefined`. */
  #perInstance(name: string, help: string, read: (description: InstanceDescription) => number | undefined): void {
    this.#registry.gauge(`teapot_kms_${name}`, help, (emit) => {
      for (const [instance, description] of this.#instances) {
        const value = read(description);
        if (value !== undefined) emit({ instance }, value);
      }
    });
  }
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
