import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { serversOf, tlsOf } from '../../src/cli/etcd-options.ts';
import { UsageError } from '../../src/cli/exit-codes.ts';

test('servers are separated by commas', () => {
  const servers = serversOf('https://10.0.0.1:2379, https://[::1]:2379,http://etcd.example:2379/');
  assert.equal(
    servers.map(({ origin }) => origin),
    ['https://10.0.0.1:2379', 'https://[::1]:2379', 'http://etcd.example:2379'],
  );
});

for (const list of [
  '',
  '10.0.0.1:2379',
  'ftp://a:1',
  'https://a:1/path',
  'https://user:password@a:1',
  'https://a:1,,',
]) {
  test(`refused: ${JSON.stringify(list)}`, () => {
    assert.throws(
      () => serversOf(list),
      (error: unknown) => error instanceof UsageError,
    );
  });
}

test('a certificate that is no file is refused, and not waited for', async () => {
  const etcdServers = 'https://127.0.0.1:2379';
  await rejectsWithCode(() => tlsOf({ etcdServers, etcdCafile: '/dev/zero' }), 'ERR_KMS_INVALID_REQUEST');
});

test.run();
