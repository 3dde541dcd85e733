import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { CallRecord } from '../../src/kms/endpoint.ts';
import { Metrics } from '../../src/observability/metrics.ts';
import type { InstanceDescription } from '../../src/observability/metrics.ts';
import { GrpcStatus, RpcError } from '../../src/transport/seam.ts';
import { describedInstance } from '../support/described-instance.ts';

function record(
  durationMs: number,
  changes: Partial<CallRecord> = {},
  path = '/v2.KeyManagementService/Decrypt',
): CallRecord {
  const [api, method] = path.slice(1).split(/\.KeyManagementService\/|\.v1\.Inspection\//) as ['v2', string];
  const toRpcError = () => new RpcError(GrpcStatus.INTERNAL, '');
  const endpoint = { path, api, method, handle: () => Buffer.alloc(0), toRpcError };
  return {
    endpoint,
    status: GrpcStatus.OK,
    durationMs,
    uid: undefined,
    keyId: undefined,
    error: undefined,
    ...changes,
  };
}

const metricsOf = (changes: Partial<InstanceDescription> = {}) => new Metrics(() => [describedInstance(changes)]);

function lines(metrics: Metrics, name: string): string[] {
  return metrics
    .text()
    .split('\n')
    .filter((line) => line.startsWith(`teapot_kms_${name}`));
}

/** Series with another value than 0. */
const counted = (metrics: Metrics, name: string) => lines(metrics, name).filter((line) => !line.endsWith(' 0'));

test('names, types and help are those of the golden list', () => {
  const header = metricsOf()
    .text()
    .split('\n')
    .filter((line) => line.startsWith('#'));
  const golden = readFileSync(join(import.meta.dirname, 'metrics.golden.txt'), 'utf8');
  assert.fixture(`${header.join('\n')}\n`, golden);
});

test('the generation of the keyset has a series once a keyset is loaded', () => {
  const generation = (keyset: InstanceDescription['keyset']) =>
    lines(metricsOf({ keyset }), 'keyset_generation').filter((line) => !line.startsWith('#'));
  assert.equal(generation(undefined), []);
  assert.equal(generation({ contextId: '00', generation: 7, hash: '00' }), [
    'teapot_kms_keyset_generation{instance="a"} 7',
  ]);
});

// https://prometheus.io/docs/practices/naming; `promtool check metrics` has the same rules.
test('counters end in _total and nothing else does, and each metric has a help text and a base unit', () => {
  const text = metricsOf().text();
  for (const [, name, type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    assert.is(name!.endsWith('_total'), type === 'counter', name);
    assert.match(name!, /^[a-z][a-z0-9_]*$/);
    assert.not.match(name!, /_(ms|milliseconds|minutes|kilobytes|count|sum|bucket)$/);
    assert.match(text, new RegExp(`^# HELP ${name!} \\S`, 'm'));
  }
});

test('series that one alerts on are there at 0 before anything has happened', () => {
  const metrics = metricsOf();
  for (const line of [
    'teapot_kms_requests_total{instance="a",api="v2",method="Decrypt",code="INTERNAL"} 0',
    'teapot_kms_requests_total{instance="a",api="v2",method="Status",code="OK"} 0',
    'teapot_kms_config_reloads_total{result="refused"} 0',
    'teapot_kms_store_operation_duration_seconds_count{operation="load",ok="false"} 0',
    'teapot_kms_warnings{instance="a"} 0',
  ])
    assert.ok(metrics.text().includes(`\n${line}\n`), line);
});

test('connections that were refused, or ended for what their client did, are counted', () => {
  const metrics = metricsOf({ connections: { refused: 7, ended: { PROTOCOL_ERROR: 2 } } });
  assert.equal(lines(metrics, 'connections_'), [
    'teapot_kms_connections_refused_total{instance="a"} 7',
    'teapot_kms_connections_ended_total{instance="a",reason="PROTOCOL_ERROR"} 2',
  ]);
});

test('a key store that has never answered is infinitely old', () => {
  assert.equal(lines(metricsOf(), 'last_good_probe_age_seconds'), [
    'teapot_kms_last_good_probe_age_seconds{instance="a"} +Inf',
  ]);
});

test('calls are counted by instance, method and status', () => {
  const metrics = metricsOf();
  metrics.called('a', record(1));
  metrics.called('a', record(1));
  metrics.called('a', record(1, { status: GrpcStatus.INVALID_ARGUMENT }));
  metrics.called('b', record(1));
  assert.equal(counted(metrics, 'requests_total'), [
    'teapot_kms_requests_total{instance="a",api="v2",method="Decrypt",code="OK"} 2',
    'teapot_kms_requests_total{instance="a",api="v2",method="Decrypt",code="INVALID_ARGUMENT"} 1',
    'teapot_kms_requests_total{instance="b",api="v2",method="Decrypt",code="OK"} 1',
  ]);
});

test('an instance shows KMS v1 from its first call of it', () => {
  const metrics = metricsOf();
  const v1 = () => lines(metrics, 'requests_total').filter((line) => line.includes('api="v1beta1"'));
  assert.is(v1().length, 0);
  metrics.called('a', record(1, {}, '/v1beta1.KeyManagementService/Version'));
  assert.ok(v1().some((line) => line.includes('method="Decrypt",code="INTERNAL"} 0')));
});

test('an instance that is removed takes its counts along, not the durations of the process', () => {
  const metrics = new Metrics(() => []);
  metrics.called('a', record(1));
  metrics.forget('a');
  assert.equal(lines(metrics, 'requests_total'), []);
  assert.equal(counted(metrics, 'request_duration_seconds_count'), [
    'teapot_kms_request_duration_seconds_count{api="v2",method="Decrypt"} 1',
  ]);
});

test('calls of status and doctor are not counted', () => {
  const metrics = metricsOf();
  metrics.called('a', record(1, {}, '/teapotkms.v1.Inspection/Describe'));
  assert.equal(counted(metrics, 'requests_total'), []);
});

test('reloads of the configuration are counted by result', () => {
  const metrics = metricsOf();
  metrics.configReloaded('refused');
  assert.equal(counted(metrics, 'config_reloads_total'), ['teapot_kms_config_reloads_total{result="refused"} 1']);
});

test('the process shows its memory, CPU time, descriptors, start and event loop', () => {
  const text = metricsOf().text();
  const value = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  assert.ok(value('process_resident_memory_bytes') > 1e7);
  assert.ok(value('process_virtual_memory_bytes') > value('process_resident_memory_bytes'));
  assert.ok(value('process_cpu_seconds_total') > 0.01);
  assert.ok(value('process_open_fds') > 2);
  assert.ok(value('process_max_fds') > value('process_open_fds'));
  assert.ok(Math.abs(value('process_start_time_seconds') - (Date.now() / 1000 - process.uptime())) < 2);
  assert.ok(value('nodejs_heap_size_used_bytes') > 1e6);
  assert.ok(value('nodejs_eventloop_lag_seconds') >= 0);
});

test.run();
