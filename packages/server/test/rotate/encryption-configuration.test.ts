import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encryptedResources } from '../../src/rotate/encryption-configuration.ts';

const configuration = (resources: string): string =>
  `apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n${resources}`;

test('the resources of all entries are named, each once', () => {
  const yaml = configuration(
    '- resources: [secrets, configmaps]\n  providers: [{ identity: {} }]\n- resources: [secrets, "*.apps"]\n  providers: []\n',
  );
  assert.equal(encryptedResources(yaml, 'enc.yaml'), ['secrets', 'configmaps', '*.apps']);
});

test('another document is refused, and no key of it is shown', async () => {
  for (const yaml of [
    'kind: Secret\ndata: { key: c2VjcmV0IG9mIHNvbWVib2R5 }',
    configuration('- resources: c2VjcmV0IG9mIHNvbWVib2R5\n'),
    configuration('- providers: [{ aescbc: { keys: [{ name: a, secret: c2VjcmV0IG9mIHNvbWVib2R5 }] } }]\n'),
    'c2VjcmV0IG9mIHNvbWVib2R5: [',
  ]) {
    const error = await rejectsWithCode(() => encryptedResources(yaml, 'enc.yaml'), 'ERR_KMS_INVALID_REQUEST');
    assert.match(error.message, /^enc.yaml:\d+: /);
    assert.not.match(error.message, 'c2VjcmV0');
  }
});

test.run();
