import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fileProvider } from '../../src/stores/file/index.ts';
import { providerFor, providers } from '../../src/stores/index.ts';

test('a key store is found by the scheme of its URI', () => {
  assert.is(providerFor('file:/etc/keys'), fileProvider);
  assert.is(providerFor('k8s-secret:ns/name').scheme, 'k8s-secret');
  assert.is(providerFor('pkcs11:token=a;object=b').scheme, 'pkcs11');
});

for (const uri of ['', ':', '/etc/keys', 'File:/x', '1a:/x', 'file', ' file:/x']) {
  test(`${JSON.stringify(uri)} has no scheme`, async () => {
    await rejectsWithCode(() => providerFor(uri), 'ERR_KMS_INVALID_URI');
  });
}

test('for an unknown scheme the error names those that there are', async () => {
  const error = await rejectsWithCode(() => providerFor('vault:x'), 'ERR_KMS_INVALID_URI');
  assert.match(error.message, /no key store for vault: URIs; known schemes: file:/);
});

test('no two key stores have the same scheme', () => {
  assert.is(new Set(providers.map(({ scheme }) => scheme)).size, providers.length);
});

for (const provider of providers) {
  test(`a ${provider.scheme}: URI that names nothing fails the check`, async () => {
    const settings = provider.settings.partial().parse({});
    await rejectsWithCode(() => provider.check(`${provider.scheme}:`, settings), 'ERR_KMS_INVALID_URI');
  });
}

test.run();
