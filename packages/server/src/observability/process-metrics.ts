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
  const cpu = (name: string, ...kinds: ('user' | 'system')[]): void =>
    registry.counter(name, `CPU time spent (${kinds.join(' and ')}), in seconds.`, (emit) => {
      const usage = process.cpuUsage();
      emit({}, kinds.reduce((sum, kind) => sum + usage[kind], 0) / 1e6);
    });
  const gauge = (name: string, help: string, read: () => number | undefined): void =>
    registry.gauge(name, help, (emit) => {
      const value = read();
      if (value !== undefined) emit({}, value);
    });
  const memory = (name: string, help: string, field: keyof NodeJS.MemoryUsage): void =>
    gauge(name, `${help}, in bytes.`, () => process.memoryUsage()[field]);
  const startSeconds = Math.round(clock.wall() / 1000 - process.uptime());
  cpu('process_cpu_user_seconds_total', 'user');
  cpu('process_cpu_system_seconds_total', 'system');
  cpu('process_cpu_seconds_total', 'user', 'system');
  gauge('process_start_time_seconds', 'Start of the process in seconds since 1970.', () => startSeconds);
  gauge('process_virtual_memory_bytes', 'Virtual memory, in bytes.', virtualMemoryBytes);
  gauge('process_open_fds', 'Open file descriptors.', () => readdirSync('/proc/self/fd').length - 1);
  gauge('process_max_fds', 'Limit of open file descriptors.', maxOpenFiles);
  memory('process_resident_memory_bytes', 'Resident memory', 'rss');
  memory('nodejs_heap_size_total_bytes', 'Size of the JavaScript heap', 'heapTotal');
  memory('nodejs_heap_size_used_bytes', 'Used part of the JavaScript heap', 'heapUsed');
  memory('nodejs_external_memory_bytes', 'Memory of buffers outside the heap', 'external');
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
