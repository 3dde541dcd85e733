import { EnvelopeKey, providerFor, SecretBytes, SharedResources } from '@teapot-kms/core';
import type { KeysetSource } from '@teapot-kms/core';
import { rememberSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { kmsV1, kmsV2, sealGcm, sealWithSeed } from '../test/support/stored-values.ts';
import { teapot, TestSite } from './support/running-plugin.ts';

const KEY = '/registry/secrets/default/one';
const OBJECT = Buffer.from('k8s\0 an object that nobody may see');
const seed = randomBytes(32);
rememberSecret(OBJECT);
rememberSecret(seed);

const test = suite<{ site: TestSite; uri: readonly [string, string]; v2: string; v1: string; foreign: string }>(
  'inspect',
);
test.before(async (context) => {
  const site = (context.site = new TestSite());
  const keyId = site.generate('main');
  context.uri = ['--uri', site.keys('main')];
  const source = providerFor(site.keys('main')).open(site.keys('main'), {}, new SharedResources()) as KeysetSource;
  const keyset = await source.load({ signal: AbortSignal.timeout(60_000) });
  const sealed = keyset.primary.seal(seed);
  keyset.destroy();
  const write = (name: string, value: string | Buffer): string => {
    writeFileSync(site.path(name), value);
    return site.path(name);
  };
  context.v2 = write(
    'v2',
    kmsV2({ keyId, encryptedDekSource: sealed, encryptedData: sealWithSeed(seed, OBJECT, KEY) }),
  );
  context.v1 = write('v1', kmsV1(sealed, sealGcm(seed, OBJECT, KEY)).toString('base64'));
  const key = new EnvelopeKey({ key: new SecretBytes(randomBytes(32)), keyId: 'foreign', contextId: Buffer.alloc(16) });
  context.foreign = write('foreign', kmsV2({ keyId: 'foreign', encryptedDekSource: key.seal(seed) }));
});
test.after(({ site }) => site.remove());

test('a keyset that opens the value: exit code 0, and no plaintext', ({ uri, v2, v1 }) => {
  for (const file of [v2, v1]) {
    const { code, stdout } = teapot('inspect', file, ...uri);
    assert.is(code, 0);
    assert.match(stdout, / opens it$/m);
    assert.not.match(stdout, OBJECT.toString('base64'));
    assert.not.match(stdout, 'nobody may see');
  }
});

test('the plaintext only when it is asked for, in base64', ({ uri, v2, v1 }) => {
  for (const file of [v2, v1]) {
    const { code, stdout } = teapot('inspect', file, ...uri, '--show-plaintext', '--key', KEY, '--output', 'json');
    assert.is(code, 0);
    assert.is((JSON.parse(stdout) as { plaintext: string }).plaintext, OBJECT.toString('base64'));
  }
});

test('the plaintext under another key of etcd: exit code 3, and nothing of it', ({ uri, v2 }) => {
  const { code, stdout } = teapot('inspect', v2, ...uri, '--show-plaintext', '--key', `${KEY}-2`);
  assert.is(code, 3);
  assert.match(stdout, 'ERR_KMS_AUTHENTICATION_FAILED');
  assert.not.match(stdout, 'plaintext  ');
});

test('what --show-plaintext needs is said: exit code 2', ({ site, uri, v2 }) => {
  assert.match(teapot('inspect', v2, '--show-plaintext').stderr, '--show-plaintext needs the keyset');
  assert.match(
    teapot('inspect', v2, ...uri, '--show-plaintext').stderr,
    '--show-plaintext needs the key of the object in etcd',
  );
  writeFileSync(site.path('local'), 'k8s:enc:secretbox:v1:key1:x');
  const { code, stderr } = teapot('inspect', site.path('local'), '--show-plaintext');
  assert.is(code, 2);
  assert.match(stderr, "a key in kube-apiserver's own configuration encrypts this value");
});

test('a keyset that does not open the value: exit code 3, and why', ({ uri, foreign }) => {
  const { code, stdout } = teapot('inspect', foreign, ...uri, '--output', 'json');
  assert.is(code, 3);
  const { keyset } = JSON.parse(stdout) as { keyset: Record<string, unknown> };
  assert.equal([keyset['opens'], keyset['code']], [false, 'ERR_KMS_UNKNOWN_KEY']);
});

test('without a keyset, nothing is asked: exit code 0', ({ foreign }) => {
  const { code, stdout } = teapot('inspect', foreign);
  assert.is(code, 0);
  assert.not.match(stdout, 'keyset');
});

test('a value that is not what its prefix says: exit code 1, and what to do', ({ site }) => {
  writeFileSync(site.path('damaged'), 'k8s:enc:kms:v2:main:x');
  const { code, stderr } = teapot('inspect', site.path('damaged'));
  assert.is(code, 1);
  assert.match(stderr, 'ERR_KMS_STORED_VALUE_MALFORMED');
  assert.match(stderr, 'Fix: read the value again');
});

test('wrong command lines: exit code 2', ({ v2 }) => {
  assert.is(teapot('inspect', v2, '--etcd', KEY).code, 2);
  assert.is(teapot('scan', '--page-size', '0').code, 2);
  assert.is(teapot('scan', '--rate', 'fast').code, 2);
  assert.is(teapot('scan', '--etcd-servers', 'localhost:2379').code, 2);
  assert.is(teapot('scan', '--etcd-certfile', '/x').code, 2);
});

test('a snapshot that is none: exit code 1, and what to do', ({ v2 }) => {
  const { code, stderr } = teapot('scan', '--snapshot', v2);
  assert.is(code, 1);
  assert.match(stderr, 'it is no bbolt database (ERR_KMS_SNAPSHOT_INVALID)');
});

test.run();
