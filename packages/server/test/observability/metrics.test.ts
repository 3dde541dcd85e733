import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { CallRecord } from '../../src/kms/endpoint.ts';
import { Metrics } from '../../src/observability/metrics.ts';
import { GrpcStatus, RpcError } from '../../src/transport/seam.ts';

function record(durationMs: number, changes: Partial<CallRecord> = {}): CallRecord {
  const endpoint = {
    path: '/v2.KeyManagementService/Decrypt',
    api: 'v2' as const,
    method: 'Decrypt',
    handle: () => Buffer.alloc(0),
    toRpcError: () => new RpcError(GrpcStatus.INTERNAL, ''),
  };
  return { endpoint, status: GrpcStatus.OK, durationMs, uid: undefined, error: undefined, ...changes };
}

async function lines(metrics: Metrics, name: string): Promise<string[]> {
  const text = await metrics.registry.metrics();
  return text.split('\n').filter((line) => line.startsWith(`teapot_kms_${name}`));
}

test('calls are counted by instance, method and status', async () => {
  const metrics = new Metrics(() => []);
  metrics.called('a', record(1));
  metrics.called('a', record(1));
  metrics.called('a', record(1, { status: GrpcStatus.INVALID_ARGUMENT }));
  metrics.called('b', record(1));
  assert.equal(await lines(metrics, 'requests_total'), [
    'teapot_kms_requests_total{instance="a",api="v2",method="Decrypt",code="OK"} 2',
    'teapot_kms_requests_total{instance="a",api="v2",method="Decrypt",code="INVALID_ARGUMENT"} 1',
    'teapot_kms_requests_total{instance="b",api="v2",method="Decrypt",code="OK"} 1',
  ]);
});

test('an instance that is forgotten takes its counts along, not the durations of the process', async () => {
  const metrics = new Metrics(() => []);
  metrics.called('a', record(1));
  metrics.forget('a');
  assert.equal(await lines(metrics, 'requests_total'), []);
  assert.equal(await lines(metrics, 'request_duration_seconds_count'), [
    'teapot_kms_request_duration_seconds_count{api="v2",method="Decrypt"} 1',
  ]);
});

test('what tools ask the socket for is not counted', async () => {
  const metrics = new Metrics(() => []);
  const { endpoint } = record(1);
  metrics.called('a', record(1, { endpoint: { ...endpoint, api: 'inspection' } }));
  assert.equal(await lines(metrics, 'requests_total'), []);
});

test('a bucket of durations counts what is at most its bound, and all buckets below it', async () => {
  const metrics = new Metrics(() => []);
  for (const ms of [0.05, 0.1, 0.2, 30, 4_000]) metrics.called('a', record(ms));
  const buckets = await lines(metrics, 'request_duration_seconds_bucket');
  const label = (le: string): string =>
    `teapot_kms_request_duration_seconds_bucket{api="v2",method="Decrypt",le="${le}"}`;
  for (const line of [`${label('0.0001')} 2`, `${label('0.00025')} 3`, `${label('0.025')} 3`, `${label('0.1')} 4`])
    assert.ok(buckets.includes(line), line);
  assert.is(buckets.at(-1), `${label('+Inf')} 5`);
  const [sum] = await lines(metrics, 'request_duration_seconds_sum');
  assert.is(Number(sum!.split(' ')[1]).toFixed(5), '4.03035');
  const type = (await metrics.registry.metrics()).includes('# TYPE teapot_kms_request_duration_seconds histogram');
  assert.ok(type);
});

test.run();
