import { FakeApiServer, rememberSecret, secretObject } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { getHeapSnapshot } from 'node:v8';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatManifest } from '../../../src/keyset/manifest.ts';
import { k8sSecretProvider } from '../../../src/stores/k8s-secret/index.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';
import { patient } from '../../support/context.ts';
import { manifestOf } from '../../support/manifests.ts';

test('a key that was loaded is in no string of the heap', async () => {
  const [key, control] = [randomBytes(32), randomBytes(32)];
  for (const bytes of [key, control]) rememberSecret(bytes);
  const manifest = manifestOf('promoted');
  const server = await FakeApiServer.start((stream) => {
    const blobs = { [`${manifest.primary}.key`]: key };
    stream.respond({ ':status': 200 });
    stream.end(secretObject({ name: 's', data: { 'keyset.yaml': Buffer.from(formatManifest(manifest)), ...blobs } }));
  });
  const { kubeconfig } = server;
  const source = k8sSecretProvider.open('k8s-secret:ns/s', { kubeconfig, serves: 'unchecked' }, new SharedResources());
  const keyset = await source.load(patient);
  const held = control.toString('base64');
  const snapshot = await buffer(getHeapSnapshot());
  assert.ok(snapshot.includes(held.slice(0, -1)), 'a string would be found');
  for (const encoding of ['base64', 'hex', 'base64url'] as const) {
    assert.not.ok(snapshot.includes(key.toString(encoding).replace('=', '')), encoding);
  }
  keyset.destroy();
  await source.close?.();
  server.close();
});

test.run();
