import { systemClock } from '@teapot-kms/core';
import type { Credentials } from '@teapot-kms/core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { originOf, otherServers, stateOf } from '../../src/setup/api-servers.ts';
import type { KubeAnswer, KubeApi } from '../../src/setup/kube-api.ts';

const METRICS = `process_start_time_seconds 1.7e+09
apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{apiserver_id_hash="sha256:1",key_id_hash="sha256:aa",provider_name="teapot-main"} 1.7e+09
`;
const apiOf = (origin: string, answers: Readonly<Record<string, KubeAnswer | Error>>): KubeApi =>
  ({
    origin,
    send: (_: string, path: string) => {
      const answer = answers[path];
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    object: (_: string, path: string) => Promise.resolve(JSON.parse((answers[path] as KubeAnswer).text)),
  }) as unknown as KubeApi;
const ok = (text = ''): KubeAnswer => ({ status: 200, text });
const state = (answers: Readonly<Record<string, KubeAnswer | Error>>) =>
  stateOf({ name: 'n', api: apiOf('https://10.0.0.1:6443', answers) }, 'teapot-main');

test("a kube-apiserver's flags say where it is", () => {
  assert.is(
    originOf(
      new Map([
        ['advertise-address', '10.0.0.1'],
        ['secure-port', '8443'],
      ]),
    ),
    'https://10.0.0.1:8443',
  );
  assert.is(originOf(new Map([['advertise-address', 'fd00::1']])), 'https://[fd00::1]:6443');
});

const pod = (nodeName: string, hostIP?: string, ...command: string[]) => {
  return { metadata: { name: nodeName }, spec: { nodeName, containers: [{ command }] }, status: { hostIP } };
};
/** Names and origins of the others. */
async function othersAmong(items: readonly object[]) {
  const path = '/api/v1/namespaces/kube-system/pods?labelSelector=component%3Dkube-apiserver';
  const own = apiOf('https://10.0.0.1:6443', { [path]: ok(JSON.stringify({ items })) });
  const others = await otherServers(own, {} as Credentials, systemClock);
  return others.map(({ name, api }) => [name, api.origin]);
}

test('the others are the static pods of other addresses, also those without one', async () => {
  const items = [pod('own', '10.0.0.1'), pod('two', '10.0.0.2', 'kube-apiserver', '--secure-port=8443'), pod('three')];
  assert.equal(await othersAmong(items), [
    ['two', 'https://10.0.0.2:8443'],
    ['three', 'https://invalid.'],
  ]);
});

test('with several networks, the address that each kube-apiserver advertises counts', async () => {
  const items = [
    pod('own', '192.168.0.1', 'kube-apiserver', '--advertise-address=10.0.0.1'),
    pod('two', '192.168.0.2', 'kube-apiserver', '--advertise-address=10.0.0.2'),
  ];
  assert.equal(await othersAmong(items), [['two', 'https://10.0.0.2:6443']]);
});

test('one that is ready says since when, and which key it has through our provider', async () => {
  assert.equal(await state({ '/readyz': ok(), '/metrics': ok(METRICS) }), {
    name: 'n',
    startedAt: 1.7e9,
    keyIdHash: 'sha256:aa',
  });
  const other = METRICS.replace('teapot-main', 'another');
  assert.is((await state({ '/readyz': ok(), '/metrics': ok(other) })).keyIdHash, undefined);
});

test('one that is not ready, or does not answer, has neither', async () => {
  const none = { name: 'n', startedAt: undefined, keyIdHash: undefined };
  assert.equal(await state({ '/readyz': { status: 500, text: '' }, '/metrics': ok(METRICS) }), none);
  assert.equal(await state({ '/readyz': new Error('ECONNREFUSED') }), none);
  assert.equal(await state({ '/readyz': ok(), '/metrics': { status: 403, text: '' } }), none);
});

test.run();
