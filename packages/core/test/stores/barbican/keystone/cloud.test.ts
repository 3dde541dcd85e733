import { rejectsWithCode } from '@teapot-kms/testing';
import { homedir } from 'node:os';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cloudOf } from '../../../../src/stores/barbican/keystone/cloud.ts';

type Login = Readonly<Record<string, string>>;
const base = { auth_url: 'http://k:5000' };
/** From several places, the first of which counts. */
const cloud = (...places: readonly Login[]) =>
  cloudOf(
    places.map((place) => (name: string) => place[name]),
    '/etc/cloud.conf',
  );

test('a password is a login to a project, with a domain for each', () => {
  const { auth, region, authUrl } = cloud({
    auth_url: 'http://k:5000/v3',
    username: 'u',
    password: 'p',
    project_name: 'x',
    user_domain_name: 'Default',
    project_domain_id: 'default',
    region_name: '',
  });
  assert.is(region, undefined);
  assert.is(authUrl, 'http://k:5000/v3');
  assert.equal(auth, {
    identity: { methods: ['password'], password: { user: { name: 'u', domain: { name: 'Default' }, password: 'p' } } },
    scope: { project: { name: 'x', domain: { id: 'default' } } },
  });
});

test('an application credential by its name needs the user, and never has a scope', () => {
  const credential = { application_credential_name: 'n', application_credential_secret: 's' };
  assert.equal(cloud({ ...base, ...credential, user_id: 'U', project_id: 'P' }).auth, {
    identity: {
      methods: ['application_credential'],
      application_credential: { name: 'n', user: { id: 'U' }, secret: 's' },
    },
  });
});

test('a token keeps its own scope unless a project is named', () => {
  const identity = { methods: ['token'], token: { id: 't' } };
  assert.equal(cloud({ ...base, token: 't' }).auth, { identity });
  assert.equal(cloud({ ...base, token: 't', project_id: 'P' }).auth, { identity, scope: { project: { id: 'P' } } });
});

for (const type of ['v3totp', 'v3kerberos', 'http_basic', 'v3oidcpassword', 'v3websso', 'none']) {
  test(`auth_type ${type} does not become a password login: it is refused by name`, async () => {
    const login = { ...base, auth_type: type, username: 'u', password: 'hunter2' };
    const { message, remedy } = await rejectsWithCode(() => cloud(login), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(message, `auth_type "${type}" is not supported`);
    assert.match(remedy ?? '', 'v3applicationcredential');
  });
}

for (const type of ['password', 'v3password', 'v2password']) {
  test(`auth_type ${type} is a password login, also beside a token`, () => {
    const { credential } = cloud({ ...base, auth_type: type, username: 'u', password: 'p', token: 't' });
    assert.is(credential, 'user u');
  });
}

test('a tilde in a path is the home directory', () => {
  const { caFile, certFile, keyFile } = cloud({ ...base, token: 't', cacert: '~/ca.pem', cert: '/c~/c', key: '~/k' });
  assert.equal([caFile, certFile, keyFile], [`${homedir()}/ca.pem`, '/c~/c', `${homedir()}/k`]);
});

const wrong: [what: string, login: Login, expected: string][] = [
  ['no auth URL', {}, 'no auth URL'],
  ['no credential', base, 'no password, application credential or token'],
  ['a password without a user', { ...base, password: 'hunter2' }, 'no user'],
  ['an application credential without its id', { ...base, application_credential_secret: 'hunter2' }, 'no id of'],
  [
    'one without its secret',
    { ...base, auth_type: 'v3applicationcredential', application_credential_id: 'i' },
    'no secret',
  ],
  ['a URL of another kind', { auth_url: 'file:///etc/passwd' }, 'http or https'],
  ['a URL with a password in it', { auth_url: 'http://u:hunter2@k' }, 'without a user'],
  ['a certificate without its key', { ...base, token: 't', cert: '/c' }, 'both its certificate and its key'],
  ['an unknown interface', { ...base, token: 't', interface: 'side' }, 'public, internal or admin'],
];
for (const [what, login, expected] of wrong) {
  test(`${what} is an error that says so and holds no secret`, async () => {
    const error = await rejectsWithCode(() => cloud(login), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, `/etc/cloud.conf: `);
    assert.match(error.message, expected);
    assert.not.match(error.message, 'hunter2');
  });
}

test('one place gives what another leaves open, under older names as well', () => {
  const over = { ...base, region_name: '', tenant_name: 'over', token: 't' };
  const { auth, region } = cloud(over, { region_name: 'r', project_name: 'under', auth_url: 'http://other' });
  assert.is(region, 'r');
  assert.equal(auth, {
    identity: { methods: ['token'], token: { id: 't' } },
    scope: { project: { name: 'over', domain: { id: 'default' } } },
  });
});

test.run();
