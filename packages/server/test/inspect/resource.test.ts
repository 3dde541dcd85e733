import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { prefixesOf, resourceOf } from '../../src/inspect/resource.ts';

for (const [key, resource] of [
  ['/registry/secrets/default/one', 'secrets'],
  ['/registry/secrets/default/a/b', 'secrets'],
  ['/registry/configmaps/kube-system/x', 'configmaps'],
  ['/registry/namespaces/default', 'namespaces'],
  ['/registry/services/specs/default/kubernetes', 'services'],
  ['/registry/services/endpoints/default/kubernetes', 'endpoints'],
  ['/registry/minions/node-1', 'nodes'],
  ['/registry/controllers/default/rc', 'replicationcontrollers'],
  ['/registry/example.com/widgets/default/w', 'widgets.example.com'],
  ['/registry/apiregistration.k8s.io/apiservices/v1.apps', 'apiservices.apiregistration.k8s.io'],
  ['/registry/health', 'health'],
  ['/registry/', ''],
] as const) {
  test(`${key} is of ${resource}`, () => {
    assert.is(resourceOf(key, '/registry/'), resource);
  });
}

test('another prefix of kube-apiserver', () => {
  assert.is(resourceOf('/clusters/a/secrets/default/one', '/clusters/a/'), 'secrets');
});

for (const [resource, prefixes] of [
  ['secrets', ['/registry/secrets/']],
  ['nodes', ['/registry/nodes/', '/registry/minions/']],
  ['deployments.apps', ['/registry/deployments/']],
  ['widgets.example.com', ['/registry/widgets/', '/registry/example.com/widgets/']],
  ['*.apps', ['/registry/']],
  ['*.*', ['/registry/']],
] as const) {
  test(`${resource} lies below ${prefixes.join(' or ')}`, () => {
    assert.equal(prefixesOf(resource, '/registry/'), prefixes);
  });
}

test.run();
