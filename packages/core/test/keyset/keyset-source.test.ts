import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { schemeOf } from '../../src/keyset/keyset-source.ts';

for (const [uri, scheme] of [
  ['file:/etc/keys', 'file'],
  ['k8s-secret:ns/name', 'k8s-secret'],
  ['pkcs11:token=a;object=b', 'pkcs11'],
] as const) {
  test(`the scheme of ${uri} is ${scheme}`, () => {
    assert.is(schemeOf(uri), scheme);
  });
}

for (const uri of ['', ':', '/etc/keys', 'File:/x', '1a:/x', 'file', ' file:/x']) {
  test(`${JSON.stringify(uri)} has no scheme`, async () => {
    await rejectsWithCode(() => schemeOf(uri), 'ERR_KMS_INVALID_URI');
  });
}

test.run();
