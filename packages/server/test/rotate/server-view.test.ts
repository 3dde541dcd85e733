import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { serverView } from '../../src/rotate/server-view.ts';

const line = (hash: string, at: string, provider = 'teapot-main'): string =>
  `apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{apiserver_id_hash="sha256:aa",key_id_hash="sha256:${hash}",provider_name="${provider}"} ${at}\n`;
const start = '# HELP process_start_time_seconds x\nprocess_start_time_seconds 1.7e+09\n';
const view = (metrics: string) => serverView(metrics, 'teapot-main', 'a.txt');

test('the newest hash counts, since the last Status with another one', () => {
  const metrics = start + line('01', '1.70000010e+09') + line('02', '1.70000040e+09') + line('03', '1.8e+09', 'other');
  assert.equal(view(metrics), { server: 'sha256:aa', keyIdHash: 'sha256:02', forMs: 300_000, since: 1.7000001e9 });
});

test('a kube-apiserver that has seen only one hash has seen it since it started', () => {
  assert.is(view(start + line('01', '1.70000006e+09')).forMs, 60_000);
});

test('metrics without this provider or without a start are refused', async () => {
  for (const metrics of ['', start, line('01', '1.7e+09'), start + line('01', '1.7e+09', 'other')]) {
    const error = await rejectsWithCode(() => view(metrics), 'ERR_KMS_INVALID_REQUEST');
    assert.match(error.message, 'a.txt: not the metrics of a kube-apiserver with provider teapot-main');
    assert.match(error.remedy ?? '', 'kubectl get --raw /metrics --server URL');
  }
});

test.run();
