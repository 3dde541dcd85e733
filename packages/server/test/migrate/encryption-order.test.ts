import { rejectsWithCode } from '@teapot-kms/testing';
import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encryptionOrder } from '../../src/migrate/encryption-order.ts';
import type { Target } from '../../src/migrate/encryption-order.ts';

const FILE = 'encryption.yaml';
const provider = { name: 'teapot-main', socket: '/run/kms.sock' };
const KEY = 'c2VjcmV0IHNlY3JldCBzZWNyZXQ=';
const OTHERS: Readonly<Record<string, string>> = {
  aescbc: `aescbc: { keys: [{ name: k, secret: ${KEY} }] }`,
  other: 'kms: { apiVersion: v2, name: other, endpoint: unix:///run/other.sock }',
  teapot: 'kms: { apiVersion: v2, name: teapot-main, endpoint: unix:///run/kms.sock }',
  identity: 'identity: {}',
};

function configuration(...providers: readonly string[]): string {
  const lines = providers.map((name) => `      - ${OTHERS[name]!}`);
  return `kind: EncryptionConfiguration\nresources:\n  - resources: [secrets, configmaps] # what we encrypt\n    providers:\n${lines.join('\n')}\n`;
}

const orderOf = (text: string, target: Target) =>
  encryptionOrder(text, FILE, { target, provider, resources: ['secrets'] });

/** The providers of every configuration from this one on, as long as data is rewritten in between. */
function path(target: Target, ...providers: readonly string[]): string[] {
  const seen: string[] = [];
  for (let text: string | undefined = configuration(...providers); text !== undefined;) {
    const { writes, next } = orderOf(text, target);
    const found = [...text.matchAll(/(aescbc|identity): |name: (other|teapot)|name: teapot-main/g)].map(
      ([, kind, name]) => kind ?? name!,
    );
    seen.push(`${found.join(' ')}${writes ? ', writes' : ''}`);
    text = next?.text;
  }
  return seen;
}

const paths: [target: Target, from: readonly string[], then: readonly string[]][] = [
  ['teapot', ['identity'], ['identity', 'identity teapot', 'teapot identity, writes']],
  [
    'teapot',
    ['aescbc', 'identity'],
    ['aescbc identity', 'aescbc teapot identity', 'teapot aescbc identity, writes', 'teapot identity, writes'],
  ],
  ['teapot', ['other'], ['other', 'other teapot', 'teapot other, writes', 'teapot, writes']],
  ['teapot', ['teapot', 'identity'], ['teapot identity, writes']],
  ['identity', ['teapot'], ['teapot', 'teapot identity', 'identity teapot, writes', 'identity, writes']],
  [
    'identity',
    ['teapot', 'aescbc', 'identity'],
    ['teapot aescbc identity', 'identity teapot aescbc, writes', 'identity aescbc, writes'],
  ],
  ['identity', ['aescbc', 'identity'], ['aescbc identity, writes']],
];
for (const [target, from, then] of paths) {
  test(`from ${from.join(', ')} to ${target}: each can read what the one before writes`, () => {
    assert.equal(path(target, ...from), then);
  });
}

test('the hash is that of the file, as kube-apiserver shows it', () => {
  const text = configuration('aescbc');
  assert.is(orderOf(text, 'teapot').hash, `sha256:${createHash('sha256').update(text).digest('hex')}`);
});

test('the resources are those of the entry with the plugin; before there is one, those that are asked for', () => {
  assert.equal(orderOf(configuration('aescbc'), 'teapot').resources, ['secrets']);
  assert.equal(orderOf(configuration('teapot'), 'teapot').resources, ['secrets', 'configmaps']);
});

test('comments and the keys of other providers stay', () => {
  const { text } = orderOf(configuration('aescbc'), 'teapot').next!;
  assert.match(text, '# what we encrypt');
  assert.match(text, KEY);
});

test('what is no EncryptionConfiguration is refused, and not shown', async () => {
  const text = configuration('aescbc').replace('EncryptionConfiguration', 'Secret');
  const error = await rejectsWithCode(() => orderOf(text, 'teapot'), 'ERR_KMS_INVALID_REQUEST');
  assert.not.match(error.message, KEY);
});

test.run();
