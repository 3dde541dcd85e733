import { systemClock } from '@teapot-kms/core';
import type { Clock, ServiceDescription, ServiceEvent } from '@teapot-kms/core';
import { keyIdHash } from '../kms/key-id-hash.ts';
import type { CallRecord } from '../kms/endpoint.ts';
import { GrpcStatus } from '../transport/seam.ts';
import { version } from '../version.ts';
import { observeProcess } from './process-metrics.ts';
import { counter, Durations, gauge, histogram } from './prometheus.ts';
import type { Labels } from './prometheus.ts';

/** The state of an instance, for metrics and for `teapot-kms status`. */
export interface InstanceDescription extends ServiceDescription {
  readonly instance: string;
  /** Of the plugin. */
  readonly version: string;
  readonly pid: number;
  readonly listening: boolean;
  readonly inFlight: number;
  /** Seconds since 1970, or 0 before the first key. */
  readonly keySince: number;
  readonly connections: {
    /** Refused, because there were too many. */
    readonly refused: number;
    /** Ended for what their client did, by the name of an HTTP/2 error code. */
    readonly ended: Readonly<Record<string, number>>;
  };
}

type StoreOperation = Extract<ServiceEvent, { type: 'store-operation' }>['operation'];

const METHODS = [
  ['v2', 'Status'],
  ['v2', 'Encrypt'],
  ['v2', 'Decrypt'],
  ['v1beta1', 'Version'],
  ['v1beta1', 'Encrypt'],
  ['v1beta1', 'Decrypt'],
] as const;
const STORE_OPERATIONS: readonly StoreOperation[] = ['load', 'describe', 'wrap', 'unwrap'];
const STATUSES = Object.entries(GrpcStatus);
/** gRPC has status codes from 0 to 16. */
const STATUS_CODES = 17;

/** The calls of one instance to one method. */
interface Calls {
  readonly durations: Durations;
  /** The number of calls at the index of their status. */
  readonly byStatus: number[];
}

/**
 * The content of /metrics. Labels are bounded: instances, methods, status codes, keys of the keysets. A histogram has a dozen lines
 * for each set of labels, so histograms are for the whole process: with hundreds of instances a scrape would delay all of them.
 */
export class Metrics {
  readonly #describe: () => readonly InstanceDescription[];
  readonly #droppedLines: () => number;
  readonly #processMetrics: () => string[];
  /** By path. */
  readonly #durations = new Map(
    METHODS.map(([api, method]) => [`/${api}.KeyManagementService/${method}`, new Durations({ api, method })]),
  );
  /** By instance and path. */
  readonly #calls = new Map<string, ReadonlyMap<string, Calls>>();
  readonly #storeOperations = new Map(
    STORE_OPERATIONS.flatMap((operation) =>
      [true, false].map((ok) => [`${operation} ${ok}`, new Durations({ operation, ok: String(ok) })]),
    ),
  );
  readonly #reloads = { taken: 0, refused: 0 };

  /**
   * @param describe - returns the instances as they are at the time of a scrape
   * @param droppedLines - returns how many log lines could not be written since the start
   */
  constructor(
    describe: () => readonly InstanceDescription[],
    { clock = systemClock, droppedLines = () => 0 }: { clock?: Clock; droppedLines?: () => number } = {},
  ) {
    this.#describe = describe;
    this.#droppedLines = droppedLines;
    this.#processMetrics = observeProcess(clock);
  }

  /** Counts a call. Calls of `status` and `doctor` are not counted. */
  called(instance: string, { endpoint, status, durationMs }: CallRecord): void {
    const calls = this.#callsOf(instance).get(endpoint.path);
    if (!calls) return;
    calls.byStatus[status]!++;
    calls.durations.observe(durationMs / 1000);
  }

  /** Removes the counts of an instance that is gone. */
  forget(instance: string): void {
    this.#calls.delete(instance);
  }

  storeOperation(operation: StoreOperation, ok: boolean, durationMs: number): void {
    this.#storeOperations.get(`${operation} ${ok}`)!.observe(durationMs / 1000);
  }

  configReloaded(result: 'taken' | 'refused'): void {
    this.#reloads[result]++;
  }

  /** The text of a scrape. */
  text(): string {
    const instances = this.#describe();
    const perInstance = (name: string, help: string, read: (one: InstanceDescription) => number | undefined): string =>
      gauge(
        `teapot_kms_${name}`,
        help,
        instances.map((one) => [{ instance: one.instance }, read(one)]),
      );
    return [
      histogram(
        'teapot_kms_request_duration_seconds',
        'Time between the complete request and its answer.',
        this.#durations.values(),
      ),
      histogram(
        'teapot_kms_store_operation_duration_seconds',
        'Duration of operations of the key store.',
        this.#storeOperations.values(),
      ),
      ...this.#processMetrics(),
      gauge('teapot_kms_build_info', 'Version of the plugin.', [[{ version }, 1]]),
      counter(
        'teapot_kms_config_reloads_total',
        'Changed configurations, by whether they were taken or refused.',
        Object.entries(this.#reloads).map(([result, count]) => [{ result }, count]),
      ),
      counter(
        'teapot_kms_log_lines_dropped_total',
        'Log lines that were dropped because the log could not be written.',
        this.#droppedLines(),
      ),
      counter('teapot_kms_requests_total', 'Calls that have ended.', this.#requests(instances)),
      perInstance(
        'last_good_probe_age_seconds',
        'Time since the last good answer of the key store; +Inf before the first one.',
        ({ lastGoodProbeAgeMs }) => (lastGoodProbeAgeMs ?? Infinity) / 1000,
      ),
      perInstance('socket_up', 'Whether the instance listens on its socket.', (one) => Number(one.listening)),
      counter(
        'teapot_kms_connections_refused_total',
        'Connections that were refused because the socket had too many.',
        instances.map(({ instance, connections }) => [{ instance }, connections.refused]),
      ),
      counter(
        'teapot_kms_connections_ended_total',
        'Connections that were ended because their client broke the protocol or a bound, by HTTP/2 error code.',
        instances.flatMap(({ instance, connections }) =>
          Object.entries(connections.ended).map(([reason, count]) => [{ instance, reason }, count] as const),
        ),
      ),
      perInstance('calls_in_flight', 'Calls that have begun and not ended.', (one) => one.inFlight),
      perInstance(
        'warnings',
        'Present trouble with the key store. The log and `teapot-kms status` show what it is.',
        (one) => one.warnings.length,
      ),
      perInstance('cached_local_keks', 'Local KEKs in the cache, for a key in a token.', (one) => one.cacheEntries),
      perInstance(
        'keyset_generation',
        'Generation of the keyset in use, 0 for one of version 1. Replicas with one keyset differ only for a moment.',
        (one) => one.keyset?.generation,
      ),
      perInstance(
        'key_since_timestamp_seconds',
        'When the current key became current here, in seconds since 1970; 0 before the first key.',
        (one) => one.keySince,
      ),
      counter(
        'teapot_kms_store_events_total',
        'Events of the key store: loads, failures, key switches, unwraps and others.',
        instances.flatMap(({ instance, counters }) =>
          Object.entries(counters).map(([event, count]) => [{ instance, event }, count] as const),
        ),
      ),
      gauge(
        'teapot_kms_key_info',
        'The key that encrypts; absent while none does.',
        instances.flatMap(({ instance, primary, uri }) =>
          primary === undefined ? [] : [[{ instance, ...keyLabels(primary), key_uri: uri }, 1] as const],
        ),
      ),
      counter(
        'teapot_kms_decrypts_total',
        'Decrypts by key. An old key whose count no longer grows may be retired.',
        instances.flatMap(({ instance, keys }) =>
          keys.map(({ id, decrypts }) => [{ instance, ...keyLabels(id) }, decrypts] as const),
        ),
      ),
    ].join('');
  }

  /** Series of KMS v1, which few clusters use, begin with the first call of an instance; all others are there from the start. */
  *#requests(instances: readonly InstanceDescription[]): Generator<[Labels, number]> {
    for (const { instance } of instances) this.#callsOf(instance);
    for (const [instance, calls] of this.#calls) {
      const isV1 = ({ durations }: Calls): boolean => durations.labels['api'] === 'v1beta1';
      const usesV1 = [...calls.values()].some((one) => isV1(one) && one.byStatus.some((count) => count > 0));
      for (const one of calls.values()) {
        if (isV1(one) && !usesV1) continue;
        for (const [code, status] of STATUSES) {
          yield [{ instance, ...one.durations.labels, code }, one.byStatus[status]!];
        }
      }
    }
  }

  #callsOf(instance: string): ReadonlyMap<string, Calls> {
    let calls = this.#calls.get(instance);
    if (!calls) {
      const none = (durations: Durations): Calls => ({ durations, byStatus: new Array<number>(STATUS_CODES).fill(0) });
      calls = new Map([...this.#durations].map(([path, durations]) => [path, none(durations)]));
      this.#calls.set(instance, calls);
    }
    return calls;
  }
}

const keyLabels = (id: string): Labels => ({ key_id: id, key_id_hash: keyIdHash(id) });
