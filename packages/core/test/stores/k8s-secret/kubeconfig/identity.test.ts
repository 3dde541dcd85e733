import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { KmsErrorCode } from '../../../../src/errors.ts';
import { impersonation, readPem, staticIdentity } from '../../../../src/stores/k8s-secret/kubeconfig/identity.ts';
import type { Entry } from '../../../../src/stores/k8s-secret/kubeconfig/load.ts';
import { kubeconfigSchema } from '../../../../src/stores/k8s-secret/kubeconfig/schema.ts';
import type { User } from '../../../../src/stores/k8s-secret/kubeconfig/schema.ts';

const directory = newDirectory();
const file = (name: string): string => join(directory, name);
for (const name of ['a', 'b']) {
  const subject = ['-subj', `/CN=${name}`, '-keyout', file(`${name}.key`), '-out', file(`${name}.crt`)];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', ...subject],
    {
      stdio: 'ignore',
    },
  );
}
writeFileSync(file('token'), 'from-file\n');
writeFileSync(file('empty'), '\n');

const base64 = (name: string): string => readFileSync(file(name), 'base64');

function userOf(user: object): Entry<User> {
  const [found] = kubeconfigSchema.parse({ users: [{ name: 'u', user }] }).users;
  return { where: 'FILE: user "u"', directory, value: found!.user! };
}

for (const [what, user, token] of [
  ['a token', { token: 'given' }, 'given'],
  ['a token file, relative to the kubeconfig', { tokenFile: 'token' }, 'from-file'],
  ['both: the file wins', { token: 'given', tokenFile: 'token' }, 'from-file'],
  ['both, with a file that is missing', { token: 'given', tokenFile: 'missing' }, 'given'],
  ['a token beside an exec plugin', { token: 'given', exec: { command: 'x' } }, 'given'],
] as const) {
  test(`identity: ${what}`, async () => assert.is((await staticIdentity(userOf(user)))?.token, token));
}

for (const [what, user] of [
  ['in files', { 'client-certificate': 'a.crt', 'client-key': file('a.key') }],
  ['as data', { 'client-certificate-data': base64('a.crt'), 'client-key-data': base64('a.key') }],
  ['one of each', { 'client-certificate': 'a.crt', 'client-key-data': base64('a.key') }],
] as const) {
  test(`identity: a client certificate ${what}`, async () => {
    const identity = await staticIdentity(userOf(user));
    assert.equal(identity?.cert, readFileSync(file('a.crt')));
    assert.equal(identity?.key, readFileSync(file('a.key')));
  });
}

test('identity: an exec plugin gives it', async () => {
  assert.is(await staticIdentity(userOf({ exec: { command: 'x' } })), undefined);
});

const [INVALID, UNAVAILABLE] = ['ERR_KMS_INVALID_URI', 'ERR_KMS_STORE_UNAVAILABLE'] as const;
for (const [what, user, code, message] of [
  ['username and password', { username: 'u', password: 'hunter2' }, INVALID, 'username and password are not supported'],
  ['auth-provider', { 'auth-provider': { name: 'oidc' } }, INVALID, 'auth-provider is not supported'],
  ['nothing', {}, INVALID, 'found none'],
  ['empty texts', { token: '', tokenFile: '' }, INVALID, 'found none'],
  [
    'a token file that is missing',
    { tokenFile: 'missing' },
    UNAVAILABLE,
    `tokenFile: cannot read ${file('missing')}: ENOENT`,
  ],
  ['an empty token file', { tokenFile: 'empty' }, INVALID, 'expected a bearer token'],
  ['a token with a line break', { token: 'hunter2\nx' }, INVALID, 'token: expected a bearer token'],
  [
    'a certificate without a key',
    { 'client-certificate': 'a.crt' },
    INVALID,
    'expected a certificate and its private key',
  ],
  ["another certificate's key", { 'client-certificate': 'a.crt', 'client-key': 'b.key' }, INVALID, 'its private key'],
  ['a certificate that is none', { 'client-certificate': 'token', 'client-key': 'b.key' }, INVALID, 'in PEM'],
  [
    'a certificate twice',
    { 'client-certificate': 'a.crt', 'client-certificate-data': base64('a.crt') },
    INVALID,
    'expected either client-certificate or client-certificate-data',
  ],
] as const satisfies readonly (readonly [string, object, KmsErrorCode, string])[]) {
  test(`refused by name: ${what}`, async () => {
    const error = await rejectsWithCode(() => staticIdentity(userOf(user)), code);
    assert.match(error.message, message);
    assert.match(error.message, 'FILE: user "u"');
    assert.not.match(error.message, 'hunter2');
    assert.ok(error.remedy);
  });
}

test('data of a certificate authority, or its file', async () => {
  const entry = (value: Record<string, string>) => ({ name: 'c', where: 'FILE: cluster "c"', directory, value });
  const read = (value: Record<string, string>) =>
    readPem(entry(value) as Parameters<typeof readPem<'certificate-authority'>>[0], 'certificate-authority');
  assert.equal(await read({ 'certificate-authority': 'a.crt' }), readFileSync(file('a.crt')));
  assert.equal(await read({ 'certificate-authority-data': 'Q0E=' }), Buffer.from('CA'));
  assert.is(await read({}), undefined);
});

test('impersonation becomes headers', () => {
  const user = { as: 'jane', 'as-uid': '7', 'as-groups': ['a', 'b'], 'as-user-extra': { 'example.org/x': ['1', '2'] } };
  assert.equal(impersonation(userOf(user)), {
    'impersonate-user': 'jane',
    'impersonate-uid': '7',
    'impersonate-group': ['a', 'b'],
    'impersonate-extra-example.org%2Fx': ['1', '2'],
  });
  assert.equal(impersonation(userOf({})), {});
});

test('groups to impersonate without a user are refused', async () => {
  await rejectsWithCode(() => impersonation(userOf({ 'as-groups': ['system:masters'] })), 'ERR_KMS_INVALID_URI');
});

test.run();
