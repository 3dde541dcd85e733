// What doctor says of a Secret whose API server refuses the credentials.
import { FakeApiServer, json, newDirectory, rejectsWithCode, secretObject, statusObject } from '@teapot-kms/testing';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../../src/envelope/codec.ts';
import type { KeysetSource } from '../../../src/keyset/keyset-source.ts';
import { formatManifest } from '../../../src/keyset/manifest.ts';
import { UNCHECKED } from '../../../src/stores/k8s-secret/guard.ts';
import { k8sSecretProvider } from '../../../src/stores/k8s-secret/index.ts';
import { GRANT_ROLE, RENEW_CREDENTIALS } from '../../../src/stores/k8s-secret/remedies.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';
import { ours, theirs } from '../../support/authorities.ts';
import { patient } from '../../support/context.ts';
import { open as openDirectory, writeWithMode } from '../../support/directories.ts';
import { newKeyBytes } from '../../support/keys.ts';
import { manifestOf } from '../../support/manifests.ts';

const manifest = manifestOf('promoted');
const data = { 'keyset.yaml': Buffer.from(formatManifest(manifest)), [`${manifest.primary}.key`]: newKeyBytes() };

test('an expired token is no missing Role: doctor advises only a new token, and with it the keys load', async () => {
  const server = await FakeApiServer.start((stream, { authorization, ':path': path }) => {
    const isReview = path?.endsWith('selfsubjectaccessreviews');
    const expired = authorization !== 'Bearer new';
    if (isReview && expired) return json(stream, 401, { kind: 'Status', status: 'Failure', reason: 'Unauthorized' });
    if (isReview) return json(stream, 201, { status: { allowed: false } });
    stream.respond({ ':status': expired ? 401 : 200, 'content-type': 'application/vnd.kubernetes.protobuf' });
    stream.end(expired ? statusObject('Unauthorized', 'the token has expired') : secretObject({ name: 's', data }));
  });
  writeFileSync(server.path('token'), 'expired');
  server.writeKubeconfig({ tokenFile: 'token' });
  const open = () =>
    k8sSecretProvider.open(
      'k8s-secret:ns/s',
      { kubeconfig: server.kubeconfig, serves: 'unchecked' },
      new SharedResources(),
    );
  const [before, after] = [open(), open()];
  try {
    const { remedy } = await rejectsWithCode(() => before.load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.is(remedy, RENEW_CREDENTIALS);
    const findings = await before.examine!(patient);
    assert.not(findings.some((finding) => finding.remedy === GRANT_ROLE));
    writeFileSync(server.path('token'), 'new');
    const keyset = await after.load(patient);
    assert.ok(keyset.seals);
    keyset.destroy();
    assert.ok(
      (await after.examine!(patient)).some((finding) => finding.remedy === GRANT_ROLE),
      'a Role may be missing',
    );
  } finally {
    await before.close?.();
    await after.close?.();
    server.close();
  }
});

interface Site {
  readonly server: FakeApiServer;
  /** With `serves` of the configuration, and the authority in the kubeconfig. */
  readonly open: (serves: string | undefined, authority?: { readonly pem: Buffer }) => KeysetSource;
  /** What the Secret's key has sealed opens. */
  readonly opens: (source: KeysetSource) => Promise<void>;
}

/** A Secret that can be read, and what its key has sealed. */
async function onReadableSecret(work: (site: Site) => Promise<void>): Promise<void> {
  const server = await FakeApiServer.start((stream, { ':path': path }) => {
    if (path?.endsWith('selfsubjectaccessreviews')) return json(stream, 201, { status: { allowed: false } });
    stream.respond({ ':status': 200, 'content-type': 'application/kubernetes.protobuf' });
    stream.end(secretObject({ name: 's', data }));
  });
  const sources: KeysetSource[] = [];
  const open: Site['open'] = (serves, authority) => {
    const ca = authority && { 'certificate-authority-data': authority.pem.toString('base64') };
    server.writeKubeconfig({ token: 'a-token' }, { 'insecure-skip-tls-verify': false, ...ca });
    const settings = { kubeconfig: server.kubeconfig, serves: serves! };
    const source = k8sSecretProvider.open('k8s-secret:ns/s', settings, new SharedResources());
    sources.push(source);
    return source;
  };
  const plaintext = Buffer.from('a seed');
  const first = await open(UNCHECKED).load(patient);
  const sealed = decodeEnvelope(first.primary.seal(plaintext));
  first.destroy();
  const opens: Site['opens'] = async (source) => {
    const keyset = await source.load(patient);
    assert.equal(keyset.primary.open(sealed), plaintext);
    keyset.destroy();
  };
  try {
    await work({ server, open, opens });
  } finally {
    for (const source of sources) await source.close?.();
    server.close();
  }
}

const remediesOf = async (source: KeysetSource): Promise<(string | undefined)[]> =>
  (await source.examine!(patient)).map(({ remedy }) => remedy);
const SET_SERVES = 'set "serves" to the sha256 of the served cluster\'s CA';

test('"serves" that is unchecked is a hint until it is the hash of the served cluster', () =>
  onReadableSecret(async ({ open, opens }) => {
    assert.ok((await remediesOf(open(UNCHECKED, ours))).includes(SET_SERVES));
    const source = open(theirs.hash, ours);
    await opens(source);
    assert.not((await remediesOf(source)).includes(SET_SERVES));
  }));

test('without "serves" no key loads, until it is set as the remedy says', () =>
  onReadableSecret(async ({ open, opens }) => {
    const { remedy } = await rejectsWithCode(() => open(undefined, ours).load(patient), 'ERR_KMS_INVALID_URI');
    assert.is(remedy, `set "serves" of its keys to the sha256 of that cluster's CA, or to "unchecked"`);
    for (const serves of [theirs.hash, 'unchecked']) await opens(open(serves, ours));
  }));

test('without an authority in the kubeconfig no key loads, until there is one or "serves" is unchecked', () =>
  onReadableSecret(async ({ open, opens }) => {
    const { remedy } = await rejectsWithCode(() => open(theirs.hash).load(patient), 'ERR_KMS_INVALID_URI');
    assert.is(remedy, 'add certificate-authority to the kubeconfig, or set "serves" to "unchecked"');
    await opens(open(theirs.hash, ours));
    await opens(open('unchecked'));
  }));

test('a Secret in the served cluster is kept in another one, or in a file: keyset', () =>
  onReadableSecret(async ({ open, opens }) => {
    const { remedy } = await rejectsWithCode(() => open(ours.hash, ours).load(patient), 'ERR_KMS_INVALID_URI');
    assert.is(remedy, 'keep the Secret in another cluster, or use a file: keyset');
    await opens(open(ours.hash, theirs));
    const directory = join(newDirectory(), 'keys');
    mkdirSync(directory, { mode: 0o700 });
    for (const [name, bytes] of Object.entries(data)) writeWithMode(join(directory, name), bytes, 0o600);
    await opens(openDirectory(directory));
  }));

const credential = {
  apiVersion: 'client.authentication.k8s.io/v1',
  kind: 'ExecCredential',
  status: { token: 'a-token' },
};
const exec = {
  apiVersion: credential.apiVersion,
  command: '/bin/echo',
  args: [JSON.stringify(credential)],
  interactiveMode: 'Never',
};
for (const [what, user, cluster, remedy, corrected] of [
  ['without a login', {}, {}, 'correct the kubeconfig', undefined],
  [
    'with an auth-provider',
    { 'auth-provider': { name: 'oidc' } },
    {},
    'use an exec plugin (exec) instead of auth-provider',
    { exec },
  ],
  [
    'that verifies no certificate',
    { token: 'a-token' },
    { server: 'https://10.0.0.1:6443', 'insecure-skip-tls-verify': true },
    'set certificate-authority-data instead',
    undefined,
  ],
] as const) {
  test(`a kubeconfig ${what} opens the Secret once it is corrected`, () =>
    onReadableSecret(async ({ server, open, opens }) => {
      const refused = open(UNCHECKED, ours);
      server.writeKubeconfig(user, cluster);
      assert.is((await rejectsWithCode(() => refused.load(patient), 'ERR_KMS_INVALID_URI')).remedy, remedy);
      const source = open(UNCHECKED, ours);
      if (corrected) server.writeKubeconfig(corrected);
      await opens(source);
    }));
}

test.run();
