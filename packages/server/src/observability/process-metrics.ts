import type { Clock } from '@teapot-kms/core';
import { readdirSync, readFileSync } from 'node:fs';
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';
import type { PerformanceEntry } from 'node:perf_hooks';
import type { Registry } from './prometheus.ts';

/** Upper bounds of the buckets for garbage collections, in seconds. */
const GC_SECONDS = [0.001, 0.01, 0.1, 1, 2, 5];

/** `PerformanceEntry.detail.kind` of a garbage collection: v8.GCType in Node's documentation of perf_hooks. */
const GC_KINDS: Readonly<Record<number, string>> = {
  1: 'minor',
  2: 'minor',
  4: 'major',
  8: 'incremental',
  16: 'weakcb',
};

/** The types of Node lack `detail`. */
type GcEntry = PerformanceEntry & { readonly detail: { readonly kind: number } };

/** Metrics of the process and of Node.js, under the names that other exporters use. */
export function addProcessMetrics(registry: Registry, clock: Clock): void {
  const one = (type: 'counter' | 'gauge', name: string, help: string, read: () => number | undefined): void =>
    registry[type](name, help, (emit) => {
      const value = read();
      if (value !== undefined) emit({}, value);
    });
  const startSeconds = Math.round(clock.wall() / 1000 - process.uptime());
  one(
    'counter',
    'process_cpu_user_seconds_total',
    'User CPU time spent, in seconds.',
    () => process.cpuUsage().user / 1e6,
  );
  one(
    'counter',
    'process_cpu_system_seconds_total',
    'System CPU time spent, in seconds.',
    () => process.cpuUsage().system / 1e6,
  );
  one('counter', 'process_cpu_seconds_total', 'User and system CPU time spent, in seconds.', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  one('gauge', 'process_start_time_seconds', 'Start of the process in seconds since 1970.', () => startSeconds);
  one('gauge', 'process_resident_memory_bytes', 'Resident memory in bytes.', () => process.memoryUsage.rss());
  one('gauge', 'process_virtual_memory_bytes', 'Virtual memory in bytes.', virtualMemoryBytes);
  one('gauge', 'process_open_fds', 'Open file descriptors.', () => readdirSync('/proc/self/fd').length - 1);
  one('gauge', 'process_max_fds', 'Limit of open file descriptors.', maxOpenFiles);
  one(
    'gauge',
    'nodejs_heap_size_total_bytes',
    'Size of the JavaScript heap in bytes.',
    () => process.memoryUsage().heapTotal,
  );
  one(
    'gauge',
    'nodejs_heap_size_used_bytes',
    'Used part of the JavaScript heap in bytes.',
    () => process.memoryUsage().heapUsed,
  );
  one(
    'gauge',
    'nodejs_external_memory_bytes',
    'Memory of buffers outside the heap, in bytes.',
    () => process.memoryUsage().external,
  );
  registry.gauge('nodejs_version_info', 'Version of Node.js.', (emit) => {
    const [major = '', minor = '', patch = ''] = process.versions.node.split('.');
    emit({ version: process.version, major, minor, patch }, 1);
  });
  addEventLoopMetrics(registry, clock);
  addGarbageCollectionMetrics(registry);
}

function addEventLoopMetrics(registry: Registry, clock: Clock): void {
  let lagSeconds = 0;
  registry.gauge('nodejs_eventloop_lag_seconds', 'Lag of the event loop at the last scrape, in seconds.', (emit) => {
    emit({}, lagSeconds);
    const started = clock.now();
    setImmediate(() => (lagSeconds = (clock.now() - started) / 1000));
  });
  const delay = monitorEventLoopDelay();
  delay.enable();
  const statistics = {
    mean: () => delay.mean,
    p50: () => delay.percentile(50),
    p90: () => delay.percentile(90),
    p99: () => delay.percentile(99),
    // The last one: the next scrape starts anew.
    max: () => {
      const { max } = delay;
      delay.reset();
      return max;
    },
  };
  for (const [statistic, nanoseconds] of Object.entries(statistics)) {
    const help = `Time between ticks of a 10 ms timer since the last scrape, ${statistic}, in seconds.`;
    registry.gauge(`nodejs_eventloop_lag_${statistic}_seconds`, help, (emit) => emit({}, nanoseconds() / 1e9));
  }
}

function addGarbageCollectionMetrics(registry: Registry): void {
  const help = 'Pauses for garbage collection by kind, in seconds.';
  const pauses = registry.histogram('nodejs_gc_duration_seconds', help, GC_SECONDS);
  for (const kind of Object.values(GC_KINDS)) pauses.with({ kind });
  new PerformanceObserver((list) => {
    for (const { duration, detail } of list.getEntries() as GcEntry[]) {
      const kind = GC_KINDS[detail.kind];
      if (kind !== undefined) pauses.with({ kind }).observe(duration / 1000);
    }
  }).observe({ entryTypes: ['gc'] });
}

function virtualMemoryBytes(): number | undefined {
  const kilobytes = /^VmSize:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

/** Infinite where there is no limit. */
function maxOpenFiles(): number | undefined {
  const limit = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  if (limit === undefined) return undefined;
  return limit === 'unlimited' ? Infinity : Number(limit);
}
