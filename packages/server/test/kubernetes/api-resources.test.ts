import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { servedResources } from '../../src/kubernetes/api-resources.ts';
import { FakeKubernetes } from '../support/fake-kubernetes.ts';

const resource = (name: string, namespaced = true, verbs = ['get', 'list', 'patch']) => ({ name, namespaced, verbs });
const group = (name: string, preferred: string, ...others: string[]) => ({
  name,
  versions: [preferred, ...others].map((version) => ({ version })),
  preferredVersion: { version: preferred },
});

function discovery(): FakeKubernetes {
  const kubernetes = new FakeKubernetes();
  const documents = {
    '/api/v1': { resources: [resource('secrets'), resource('secrets/status'), resource('bindings', true, ['create'])] },
    '/apis': {
      groups: [
        group('apps', 'v1'),
        group('networking.k8s.io', 'v1', 'v1beta1'),
        group('example.com', 'v1', 'v1alpha1'),
      ],
    },
    '/apis/apps/v1': { resources: [resource('deployments')] },
    '/apis/networking.k8s.io/v1': { resources: null },
    '/apis/networking.k8s.io/v1beta1': { resources: [resource('ipaddresses', false)] },
    '/apis/example.com/v1': { resources: [resource('widgets')] },
    '/apis/example.com/v1alpha1': { resources: [resource('gadgets'), resource('widgets')] },
  };
  for (const [path, document] of Object.entries(documents)) kubernetes.documents.set(path, document);
  return kubernetes;
}

for (const [name, ...expected] of [
  ['secrets', { prefix: '/api/v1', name: 'secrets', namespaced: true }],
  ['deployments', { prefix: '/apis/apps/v1', name: 'deployments', namespaced: true }],
  ['ipaddresses', { prefix: '/apis/networking.k8s.io/v1beta1', name: 'ipaddresses', namespaced: false }],
  ['widgets.example.com', { prefix: '/apis/example.com/v1', name: 'widgets', namespaced: true }],
  ['gadgets.example.com', { prefix: '/apis/example.com/v1alpha1', name: 'gadgets', namespaced: true }],
  ['bindings'],
  ['widgets'],
  ['widgets.gone.example.com'],
] as const) {
  test(`${name}: ${expected[0]?.prefix ?? 'nothing serves it'}`, async () => {
    assert.equal(await servedResources(discovery(), name), expected);
  });
}

test('a discovery that fails is no answer', async () => {
  const kubernetes = new FakeKubernetes();
  const error = await rejectsWithCode(() => servedResources(kubernetes, 'secrets'), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, 'GET /api/v1: HTTP status 404');
});

test.run();
