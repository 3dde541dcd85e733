import { KmsError } from '@teapot-kms/core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import {
  isOnlyIdentity,
  positionOf,
  withoutProvider,
  withProvider,
} from '../../src/kubernetes/encryption-providers.ts';

const kms = { name: 'teapot-main', socket: '/run/teapot-kms/main/kms.sock' };
const add = (text: string | undefined, position: 'reads' | 'writes', resources = ['secrets']): string =>
  withProvider(text, 'enc.yaml', kms, resources, position);
const position = (text: string): string => positionOf(text, 'enc.yaml', kms.name);

type Parsed = {
  resources: { resources: string[]; providers: Record<string, { name?: string; keys?: unknown[] }>[] }[];
};
/** The providers of each entry, in short. */
const shape = (text: string): string[] =>
  (parse(text) as Parsed).resources.map(
    ({ resources, providers }) =>
      `${resources.join()}: ${providers.map((one) => Object.entries(one).map(([type, { name }]) => name ?? type)).join()}`,
  );
const refused = (text: string, message: RegExp, resources?: string[]): void => {
  assert.throws(
    () => add(text, 'reads', resources),
    (error: unknown) =>
      error instanceof KmsError &&
      error.code === 'ERR_KMS_INVALID_REQUEST' &&
      message.test(error.message) &&
      !`${error.message} ${error.remedy}`.includes('c2VjcmV0'),
  );
};

const aescbc = `# Encrypts Secrets since 2024.
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      # the writer
      - aescbc:
          keys:
            - name: key2
              secret: c2VjcmV0IGlzIHNlY3VyZSwgaXMgaXQ/PyE=
            # until the next rewrite
            - name: key1
              secret: dGhpcyBpcyBwYXNzd29yZCBhbmQgbW9yZSE=
      - identity: {}
  - resources: [configmaps]
    providers:
      - identity: {}
`;

test('without a configuration, Secrets stay plain until every kube-apiserver reads', () => {
  assert.equal(shape(add(undefined, 'reads')), ['secrets: identity,teapot-main']);
  assert.equal(shape(add(add(undefined, 'reads'), 'writes')), ['secrets: teapot-main,identity']);
});

test('existing providers are merged: the writer writes on, and keys and comments stay', () => {
  const merged = add(aescbc, 'reads');
  assert.equal(shape(merged), ['secrets: aescbc,teapot-main,identity', 'configmaps: identity']);
  for (const line of aescbc.split('\n')) assert.ok(merged.split('\n').includes(line), line);
  assert.equal(shape(add(merged, 'writes')), ['secrets: teapot-main,aescbc,identity', 'configmaps: identity']);
});

test('the way back gives the first text', () => {
  const writes = add(add(aescbc, 'reads'), 'writes');
  assert.is(withoutProvider(add(writes, 'reads'), 'enc.yaml', kms.name), aescbc);
});

test('what is right already changes no byte', () => {
  for (const one of ['reads', 'writes'] as const) assert.is(add(add(aescbc, one), one), add(aescbc, one));
});

test('the position of a provider is found', () => {
  assert.is(positionOf(undefined, 'enc.yaml', kms.name), 'absent');
  assert.is(position(aescbc), 'absent');
  assert.is(position(add(aescbc, 'reads')), 'reads');
  assert.is(position(add(aescbc, 'writes')), 'writes');
});

test('a provider that is alone gets another writer before it stops writing', () => {
  const alone = add(undefined, 'writes').replace(/ +- identity: {}\n/, '');
  assert.equal(shape(add(alone, 'reads')), ['secrets: identity,teapot-main']);
  assert.equal(shape(withoutProvider(alone, 'enc.yaml', kms.name)), ['secrets: identity']);
});

test('an entry with a wildcard that covers the resources gets the provider', () => {
  for (const wildcard of ['*.', '*.*'])
    assert.equal(
      shape(add(aescbc.replace('[secrets]', `['${wildcard}']`), 'reads'))[0],
      `${wildcard}: aescbc,teapot-main,identity`,
    );
});

test('resources without an entry get one of their own', () => {
  assert.equal(shape(add(aescbc.replace('[secrets]', '[events]'), 'reads')).at(-1), 'secrets: identity,teapot-main');
});

test('resources of different entries are refused', () =>
  refused(aescbc, /secrets, configmaps are in different entries/, ['secrets', 'configmaps']));

test('a provider of this name with another endpoint is refused', () =>
  refused(add(aescbc, 'reads').replace('/main/', '/other/'), /provider teapot-main has another endpoint/));

test('what is no EncryptionConfiguration is refused, and no error shows a key', () => {
  refused('kind: Pod\n', /expected kind EncryptionConfiguration/);
  refused(aescbc.replace('aescbc:', 'aescbc: {{'), /^enc.yaml:\d+: expected YAML$/);
  refused('kind: EncryptionConfiguration\nresources: c2VjcmV0\n', /expected a list of maps/);
});

test('only identity: nothing is encrypted', () => {
  assert.ok(
    isOnlyIdentity(
      'kind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [{identity: {}}]}]',
      'e',
    ),
  );
  assert.not(isOnlyIdentity(aescbc, 'e'));
});

test.run();
