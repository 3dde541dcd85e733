import { KmsError, systemClock, unavailable } from '@teapot-kms/core';
import type { ApiServer } from '@teapot-kms/core';
import { rejectsWithCode } from '@teapot-kms/testing';
import { Readable } from 'node:stream';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as z from 'zod';
import { originOf, otherServers, stateOf } from '../../src/setup/api-servers.ts';
import { KubeApi } from '../../src/setup/kube-api.ts';

const METRICS = `process_start_time_seconds 1.7e+09
apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{apiserver_id_hash="sha256:1",key_id_hash="sha256:aa",provider_name="teapot-main"} 1.7e+09
`;
type Answer = { readonly status: number; readonly text: string } | KmsError;
const ok = (text = ''): Answer => ({ status: 200, text });
const refused = (status: number, message: string): Answer => ({ status, text: JSON.stringify({ message }) });

/** A kube-apiserver that gives these answers. */
function apiOf(origin: string, answers: Readonly<Record<string, Answer>>): KubeApi {
  const answerTo = ({ path }: { path: string }) => {
    const answer = answers[path]!;
    if (answer instanceof KmsError) return Promise.reject(answer);
    const body = Buffer.from(answer.text);
    return Promise.resolve({ status: answer.status, body, stream: Readable.from([body]) });
  };
  return new KubeApi(origin, { clock: systemClock, request: answerTo, open: answerTo } as unknown as ApiServer);
}
const state = (answers: Readonly<Record<string, Answer>>) =>
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
  const others = await otherServers(own, (origin) => apiOf(origin, {}));
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

const DOWN = unavailable('https://10.0.0.1:6443: connect ECONNREFUSED', { remedy: 'check that it runs' });
for (const [what, answers, problem, remedy] of [
  ['that is not ready', { '/readyz': refused(500, 'etcd failed') }, '/readyz: HTTP status 500 etcd failed', undefined],
  [
    'that refuses the user',
    { '/readyz': refused(401, 'Unauthorized') },
    '/readyz: HTTP status 401 Unauthorized',
    'use a kubeconfig of an administrator: --kubeconfig',
  ],
  [
    'whose metrics are forbidden',
    { '/readyz': ok(), '/metrics': refused(403, '') },
    '/metrics: HTTP status 403',
    'allow the user of the kubeconfig to get the non-resource URL /metrics',
  ],
  ['that does not answer', { '/readyz': DOWN }, ': connect ECONNREFUSED', 'check that it runs'],
] as const) {
  test(`one ${what} has no start, and says why`, async () => {
    const found = await state(answers);
    assert.equal([found.startedAt, found.keyIdHash], [undefined, undefined]);
    assert.is(found.problem!.trim(), `https://10.0.0.1:6443${problem}`);
    assert.is(found.remedy, remedy);
  });
}

test('an answer that is none is an error with a code', async () => {
  const own = apiOf('https://10.0.0.1:6443', { '/version': ok('<html>') });
  const error = await rejectsWithCode(() => own.object('GET', '/version', z.unknown()), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, 'not what Kubernetes answers');
});

test.run();
