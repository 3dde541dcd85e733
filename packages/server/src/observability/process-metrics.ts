import type { Clock } from '@teapot-kms/core';
import { readdirSync, readFileSync } from 'node:fs';
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';
import type { PerformanceEntry } from 'node:perf_hooks';
import { counter, Durations, gauge, histogram } from './prometheus.ts';

/** Upper bounds of the buckets for garbage collections, in seconds. */
const GC_SECONDS = [0.001, 0.01, 0.1, 1, 2, 5];

/** The labels of `PerformanceEntry.detail.kind` of a garbage collection (v8.GCType in Node's documentation). */
const GC_KINDS = { 1: 'minor', 4: 'major', 8: 'incremental', 16: 'weakcb' };

/** The types of Node lack `detail`. */
type GcEntry = PerformanceEntry & { readonly detail: { readonly kind: number } };

/**
 * Metrics of the process and of Node.js, under the names that other exporters use. Observes the event loop and the garbage collector from now on.
 * @returns the function that makes their text at a scrape
 */
export function observeProcess(clock: Clock): () => string[] {
  const startSeconds = Math.round(clock.wall() / 1000 - process.uptime());
  const [major = '', minor = '', patch = ''] = process.versions.node.split('.');
  const eventLoop = observeEventLoop(clock);
  const pauses = observeGarbageCollection();
  return () => {
    const { user, system } = process.cpuUsage();
    const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
    return [
      counter('process_cpu_user_seconds_total', 'CPU time spent (user), in seconds.', user / 1e6),
      counter('process_cpu_system_seconds_total', 'CPU time spent (system), in seconds.', system / 1e6),
      counter('process_cpu_seconds_total', 'CPU time spent (user and system), in seconds.', (user + system) / 1e6),
      gauge('process_start_time_seconds', 'Start of the process in seconds since 1970.', startSeconds),
      gauge('process_virtual_memory_bytes', 'Virtual memory, in bytes.', ofProcess('status', 'VmSize:') * 1024),
      gauge('process_open_fds', 'Open file descriptors.', readdirSync('/proc/self/fd').length - 1),
      gauge('process_max_fds', 'Limit of open file descriptors.', ofProcess('limits', 'Max open files')),
      gauge('process_resident_memory_bytes', 'Resident memory, in bytes.', rss),
      gauge('nodejs_heap_size_total_bytes', 'Size of the JavaScript heap, in bytes.', heapTotal),
      gauge('nodejs_heap_size_used_bytes', 'Used part of the JavaScript heap, in bytes.', heapUsed),
      gauge('nodejs_external_memory_bytes', 'Memory of buffers outside the heap, in bytes.', external),
      gauge('nodejs_version_info', 'Version of Node.js.', [[{ version: process.version, major, minor, patch }, 1]]),
      ...eventLoop(),
      histogram('nodejs_gc_duration_seconds', 'Pauses for garbage collection by kind, in seconds.', pauses),
    ];
  };
}

function observeEventLoop(clock: Clock): () => string[] {
  let lagSeconds = 0;
  const delay = monitorEventLoopDelay();
  delay.enable();
  return () => {
    const lag = gauge(
      'nodejs_eventloop_lag_seconds',
      'Lag of the event loop at the last scrape, in seconds.',
      lagSeconds,
    );
    const started = clock.now();
    setImmediate(() => (lagSeconds = (clock.now() - started) / 1000));
    const { mean, max } = delay;
    const [p50, p90, p99] = [delay.percentile(50), delay.percentile(90), delay.percentile(99)];
    delay.reset();
    const statistics = Object.entries({ mean, p50, p90, p99, max }).map(([statistic, nanoseconds]) => {
      const help = `Time between ticks of a 10 ms timer since the last scrape, ${statistic}, in seconds.`;
      return gauge(`nodejs_eventloop_lag_${statistic}_seconds`, help, nanoseconds / 1e9);
    });
    return [lag, ...statistics];
  };
}

function observeGarbageCollection(): readonly Durations[] {
  const pauses = new Map(
    Object.entries(GC_KINDS).map(([type, kind]) => [Number(type), new Durations({ kind }, GC_SECONDS)]),
  );
  new PerformanceObserver((list) => {
    for (const { duration, detail } of list.getEntries() as GcEntry[]) {
      // 2 is another minor collection.
      pauses.get(detail.kind === 2 ? 1 : detail.kind)?.observe(duration / 1000);
    }
  }).observe({ entryTypes: ['gc'] });
  return [...pauses.values()];
}

/** Returns the first number after `label` in a file of /proc/self (proc(5)); infinite for `unlimited`. */
function ofProcess(file: 'status' | 'limits', label: string): number {
  const text = new RegExp(`^${label}\\s+(\\S+)`, 'm').exec(readFileSync(`/proc/self/${file}`, 'utf8'))?.[1];
  return text === 'unlimited' ? Infinity : Number(text);
}
