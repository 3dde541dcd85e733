import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { authorityHashes, refuseOwnCluster, UNCHECKED } from '../../../src/stores/k8s-secret/guard.ts';

/** Self-signed CAs, and their hashes as the guide's command (openssl) has computed them. */
const ours = {
  pem: Buffer.from(`-----BEGIN CERTIFICATE-----
MIIBczCCARmgAwIBAgIULTtngS9Tx6BTGg1w3VAQ+PANkF8wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEb3VyczAeFw0yNjExMjUwMzA5MjJaFw0zNjExMjIwMzA5MjJa
MA8xDTALBgNVBAMMBG91cnMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATuhngW
xjHLoTL33SoBQrn8QDVPgIuCrxEgwDIp5aXI/HFTrRkjLIP5KW36oI7keDisCXxr
2iAewsYiZ1RW2Qt9o1MwUTAdBgNVHQ4EFgQUUsPvSsy3sSAA+BDqtuK5A5i16psw
HwYDVR0jBBgwFoAUUsPvSsy3sSAA+BDqtuK5A5i16pswDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiEAuAXVmC80CDkUfzwcjv2JW+P3DH4INEl+q49V
Yur0cD4CIDAjoRqZmpBa4RaKHqgJp3Mioe0NyfQoCWs1FHT3ymY0
-----END CERTIFICATE-----
`),
  hash: 'sha256:022a9315637af2055b0e543a841a787a6a00f1c013be094744aa20e1a08b8aed',
};
const theirs = {
  pem: Buffer.from(`-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIUfkntQk76P0eB7RsznlqVWsgcylkwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGdGhlaXJzMB4XDTI2MTEyNTAzMDkyMloXDTM2MTEyMjAzMDky
MlowETEPMA0GA1UEAwwGdGhlaXJzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
hlDCMDtwqedUw09VmgDTj0E6fO3uorcnBYI06U5YJULRentVWqnki9PmoR0Kv9Qj
IX6f6gNFB/jsJ1QEgHlspaNTMFEwHQYDVR0OBBYEFOMzWi+jgevXDt8xfy2wP8qL
HEScMB8GA1UdIwQYMBaAFOMzWi+jgevXDt8xfy2wP8qLHEScMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhALKOi8wXQPoLc/U44df/MeiieWunYwb2
1ixJH1Www5X4AiB3HxEnfBA0YXJy04zCw5Vj2sbqXIgFncNfj9rQaCbo5Q==
-----END CERTIFICATE-----
`),
  hash: 'sha256:61b089877918a4e0a6222a25b1acd996cb9779c4e5201aa96b2bf1e58d872e95',
};

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
