import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findEndpoint } from '../../../../src/stores/barbican/keystone/catalog.ts';
import type { Interface } from '../../../../src/stores/barbican/keystone/cloud.ts';

const endpoints = [
  { interface: 'public', region: 'A', url: 'http://a/' },
  { interface: 'public', region: 'B', url: 'http://b' },
  { interface: 'internal', region: 'B', url: 'http://ib' },
];
const catalog = [
  { type: 'identity', endpoints: [] },
  { type: 'key-manager', endpoints },
];
const find = (name: Interface, region?: string, type = 'key-manager') =>
  findEndpoint(catalog, type, { interface: name, region, authUrl: 'http://keystone/v3' });

test('an endpoint is found by interface and region', () => {
  assert.equal(find('public', 'A'), { url: 'http://a', region: 'A' });
  assert.equal(find('public', 'B'), { url: 'http://b', region: 'B' });
});

test('no region is needed for an interface that only one region has', () => {
  assert.equal(find('internal'), { url: 'http://ib', region: 'B' });
});

test('several regions and none configured: refused, and the regions are named, whatever their order', async () => {
  for (const order of [endpoints, endpoints.toReversed()]) {
    const several = [{ type: 'key-manager', endpoints: order }];
    const { message, remedy } = await rejectsWithCode(
      () =>
        findEndpoint(several, 'key-manager', { interface: 'public', region: undefined, authUrl: 'http://keystone/v3' }),
      'ERR_KMS_STORE_UNAVAILABLE',
    );
    assert.match(message, 'set region: one of A, B');
    assert.is(remedy, 'set region: one of A, B');
  }
});

test('the regions of several services of one type count together', async () => {
  const two = endpoints.slice(0, 2).map((one) => ({ type: 'key-manager', endpoints: [one] }));
  await rejectsWithCode(
    () => findEndpoint(two, 'key-manager', { interface: 'public', region: undefined, authUrl: 'http://keystone/v3' }),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
});

test('an endpoint without a region is alone', () => {
  const one = [{ type: 'key-manager', endpoints: [{ interface: 'public', region: null, url: 'http://a' }] }];
  assert.equal(
    findEndpoint(one, 'key-manager', { interface: 'public', region: undefined, authUrl: 'http://keystone/v3' }),
    {
      url: 'http://a',
      region: undefined,
    },
  );
});

test('a service without TLS behind a Keystone with it is refused, because keys would travel in the clear', async () => {
  const one = [{ type: 'key-manager', endpoints: [{ interface: 'public', region: null, url: 'http://a' }] }];
  const { message, remedy } = await rejectsWithCode(
    () => findEndpoint(one, 'key-manager', { interface: 'public', region: undefined, authUrl: 'https://keystone/v3' }),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(message, 'http://a');
  assert.match(remedy ?? '', 'set endpoint');
});

test('the error says what the catalog has instead', async () => {
  const service = await rejectsWithCode(() => find('public', 'A', 'image'), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(service.message, 'it has: identity, key-manager');
  const endpoint = await rejectsWithCode(() => find('admin', 'A'), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(endpoint.message, 'internal in B, public in A, public in B');
});

test.run();
