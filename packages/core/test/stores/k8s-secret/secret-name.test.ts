import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { k8sSecretProvider } from '../../../src/stores/k8s-secret/index.ts';
import { parseSecretUri } from '../../../src/stores/k8s-secret/secret-name.ts';

test('namespace and name', () => {
  assert.equal(parseSecretUri('k8s-secret:teapot-kms/tenant-a.v1'), { namespace: 'teapot-kms', name: 'tenant-a.v1' });
});

for (const uri of [
  'k8s-secret:',
  'k8s-secret:name',
  'k8s-secret:/name',
  'k8s-secret:ns/',
  'k8s-secret:ns/name/more',
  'k8s-secret://ns/name',
  'k8s-secret:ns/Name',
  'k8s-secret:ns/na..me',
  'k8s-secret:ns/name?x=1',
  'k8s-secret:ns/../other',
  'k8s-secret:ns/na%2Fme',
  `k8s-secret:ns/${'a'.repeat(64)}`,
  `k8s-secret:${'a'.repeat(64)}/name`,
]) {
  test(`${uri.slice(0, 40)} is refused`, async () => {
    await rejectsWithCode(() => parseSecretUri(uri), 'ERR_KMS_INVALID_URI');
  });
}

test('which cluster is served must be said, in one form', () => {
  const { settings } = k8sSecretProvider;
  const serves = `sha256:${'ab'.repeat(32)}`;
  assert.equal(settings.parse({ serves }), { serves });
  for (const wrong of [{}, { serves: 'ab' }, { serves: serves.toUpperCase() }, { serves, kubeconfig: 'relative' }]) {
    assert.not.ok(settings.safeParse(wrong).success, JSON.stringify(wrong));
  }
});

test.run();
