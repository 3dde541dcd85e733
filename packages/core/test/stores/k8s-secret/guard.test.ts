import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { authorityHashes, refuseOwnCluster, UNCHECKED } from '../../../src/stores/k8s-secret/guard.ts';
import { ours, theirs } from '../../support/authorities.ts';

test("a CA's hash is that of openssl's command in the guide", () => {
  assert.equal(authorityHashes(ours.pem), [ours.hash]);
});

test('another cluster is accepted', () => refuseOwnCluster(theirs.hash, ours.pem));

test('the same cluster is refused, also where its CA is one of several', async () => {
  const bundle = Buffer.concat([theirs.pem, Buffer.from('# the next\n'), ours.pem]);
  for (const pem of [ours.pem, bundle]) {
    const error = await rejectsWithCode(() => refuseOwnCluster(ours.hash, pem), 'ERR_KMS_INVALID_URI');
    assert.match(error.message, /encrypted by itself/);
  }
});

test('without a certificate authority, or without "serves", it is refused, and the remedy says what to set', async () => {
  for (const pem of [undefined, Buffer.from('no certificate')]) {
    const error = await rejectsWithCode(() => refuseOwnCluster(ours.hash, pem), 'ERR_KMS_INVALID_URI');
    assert.match(error.remedy!, /certificate-authority/);
  }
  const error = await rejectsWithCode(() => refuseOwnCluster(undefined, ours.pem), 'ERR_KMS_INVALID_URI');
  assert.match(error.remedy!, /set "serves"/);
});

test('unchecked is not checked', () => {
  refuseOwnCluster(UNCHECKED, undefined);
  refuseOwnCluster(UNCHECKED, ours.pem);
});

test.run();
