import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cloudOf } from '../../../../src/stores/barbican/keystone/cloud.ts';
import { fieldsOfEnvironment, mergeFields } from '../../../../src/stores/barbican/keystone/fields.ts';
import type { CloudFields } from '../../../../src/stores/barbican/keystone/fields.ts';

const base = { authUrl: 'http://k:5000' };

test('OS_* variables of an openrc file are a password login to a project', () => {
  const fields = fieldsOfEnvironment({
    OS_AUTH_URL: 'http://k:5000/v3',
    OS_USERNAME: 'u',
    OS_PASSWORD: 'p',
    OS_PROJECT_NAME: 'x',
    OS_USER_DOMAIN_NAME: 'Default',
    OS_PROJECT_DOMAIN_ID: 'default',
    OS_REGION_NAME: '',
    OS_INTERFACE: 'public',
  });
  const { auth, region, authUrl } = cloudOf(fields, 'environment');
  assert.is(region, undefined);
  assert.is(authUrl, 'http://k:5000/v3');
  assert.equal(auth, {
    identity: { methods: ['password'], password: { user: { name: 'u', domain: { name: 'Default' }, password: 'p' } } },
    scope: { project: { name: 'x', domain: { id: 'default' } } },
  });
});

test('an application credential by its name needs the user, and never has a scope', () => {
  const { auth } = cloudOf(
    { ...base, applicationCredentialName: 'n', applicationCredentialSecret: 's', userId: 'U', projectId: 'P' },
    'c',
  );
  assert.equal(auth, {
    identity: {
      methods: ['application_credential'],
      application_credential: { name: 'n', user: { id: 'U' }, secret: 's' },
    },
  });
});

test('a token keeps its own scope unless a project is named', () => {
  const identity = { methods: ['token'], token: { id: 't' } };
  assert.equal(cloudOf({ ...base, token: 't' }, 'c').auth, { identity });
  assert.equal(cloudOf({ ...base, token: 't', projectId: 'P' }, 'c').auth, {
    identity,
    scope: { project: { id: 'P' } },
  });
});

const wrong: [what: string, fields: CloudFields, expected: string][] = [
  ['no auth URL', {}, 'no auth URL'],
  ['no credential', base, 'no password, application credential or token'],
  ['a password without a user', { ...base, password: 'hunter2' }, 'no user'],
  ['an application credential without its id', { ...base, applicationCredentialSecret: 'hunter2' }, 'no id of'],
  [
    'one without its secret',
    { ...base, authType: 'v3applicationcredential', applicationCredentialId: 'i' },
    'no secret',
  ],
  ['a URL of another kind', { authUrl: 'file:///etc/passwd' }, 'http or https'],
  ['a URL with a password in it', { authUrl: 'http://u:hunter2@k' }, 'without a user'],
  ['a certificate without its key', { ...base, token: 't', certFile: '/c' }, 'both its certificate and its key'],
  ['an unknown interface', { ...base, token: 't', interface: 'side' }, 'public, internal or admin'],
];
for (const [what, fields, expected] of wrong) {
  test(`${what} is an error that says so and holds no secret`, async () => {
    const error = await rejectsWithCode(() => cloudOf(fields, '/etc/cloud.conf'), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, `/etc/cloud.conf: `);
    assert.match(error.message, expected);
    assert.not.match(error.message, 'hunter2');
  });
}

test('what one place leaves open another fills', () => {
  assert.equal(mergeFields({ region: undefined, userId: 'a', token: '' }, { region: 'r', userId: 'b', token: 't' }), {
    region: 'r',
    userId: 'a',
    token: 't',
  });
});

test.run();
