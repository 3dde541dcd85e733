/** The login to a cloud: each way to give it, when a token is renewed, and where it goes. */
import { Authority, HttpProxy, patient, skipWithoutOpenStack, TestCloud } from '@teapot-kms/testing/daemons';
import { rejectsWithCode, until } from '@teapot-kms/testing';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keyset/administration.ts';
import type { KeystoneSession } from '../../src/stores/barbican/keystone/session.ts';
import { BarbicanClient } from '../../src/stores/barbican/client.ts';
import { Tenant } from './support/tenant.ts';

skipWithoutOpenStack();
const cloud = await TestCloud.start({ tokenCache: 1 });
test.after.each(() => cloud.heal());
test.after(() => cloud.stop());

const logins = () => cloud.keystone.count('POST', /auth\/tokens/);
const listing = (session: KeystoneSession) =>
  session.keyManager({ method: 'GET', path: '/secrets?limit=1', ...patient() });

/** Writes a file of mode 0600. @returns its path */
function file(name: string, text: string): string {
  const path = cloud.newPath(name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

interface Way {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly environment?: Readonly<Record<string, string>>;
}

const { id, secret } = cloud.openStack.state.application_credential;
const password = cloud.openStack.state.passwords.kms;
const cloudsYaml = () => {
  const auth = `{ auth_url: ${cloud.keystone.url}, application_credential_id: ${id} }`;
  const path = file('clouds.yaml', `clouds: { a: {}, mine: { auth_type: v3applicationcredential, auth: ${auth} } }`);
  const more = `clouds: { mine: { auth: { application_credential_secret: ${secret} } } }`;
  writeFileSync(join(path, '../secure.yaml'), more, { mode: 0o600 });
  return path;
};
const openrc = {
  OS_AUTH_URL: cloud.keystone.url,
  OS_USERNAME: 'kms',
  OS_PASSWORD: password,
  OS_PROJECT_NAME: 'kms',
  OS_USER_DOMAIN_NAME: 'Default',
  OS_PROJECT_DOMAIN_ID: 'default',
};
const ways: Record<string, () => Way | Promise<Way>> = {
  'cloud.conf with a password': () => ({ settings: { cloudConfig: cloud.cloudConf(cloud.password('kms')) } }),
  'cloud.conf with an application credential': () => ({ settings: { cloudConfig: cloud.cloudConf() } }),
  'cloud.conf with a trust': async () => ({ settings: { cloudConfig: cloud.cloudConf(await trust()) } }),
  'cloud.conf that leads to a clouds.yaml': () => ({
    settings: {
      cloudConfig: cloud.cloudConf({ 'use-clouds': 'true', 'clouds-file': cloudsYaml(), cloud: 'mine' }),
    },
  }),
  'clouds.yaml with secure.yaml': () => ({ settings: { cloud: { name: 'mine', file: cloudsYaml() } } }),
  'OS_* variables': () => ({ settings: {}, environment: openrc }),
  OS_CLOUD: () => ({ settings: {}, environment: { OS_CLOUD: 'mine', OS_CLIENT_CONFIG_FILE: cloudsYaml() } }),
  'clouds.yaml with an application credential by its name': () => {
    const user = { username: 'kms', user_domain_id: 'default', application_credential_name: 'kms-plugin' };
    const auth = { auth_url: cloud.keystone.url, ...user, application_credential_secret: secret };
    return { settings: { cloud: { file: file('by-name.yaml', JSON.stringify({ clouds: { only: { auth } } })) } } };
  },
  'OS_* variables with a token': async () => ({
    settings: {},
    environment: {
      OS_AUTH_URL: cloud.keystone.url,
      OS_TOKEN: await cloud.openStack.admin.token('kms', password, 'kms'),
      OS_PROJECT_ID: cloud.openStack.state.projects.kms,
    },
  }),
};
for (const [what, way] of Object.entries(ways)) {
  test(`${what} logs in to the project`, async () => {
    const { settings, environment } = await way();
    const session = cloud.session(settings, environment);
    const { project } = await session.token(patient().signal);
    assert.is(project?.id, cloud.openStack.state.projects.kms);
    assert.is((await listing(session)).status, 200);
    session.close();
  });
}

/** The user `other` may act for `kms`. @returns variables of a `cloud.conf` */
async function trust(): Promise<Record<string, string>> {
  const { keystoneUrl, admin, state } = cloud.openStack;
  const { kms, other } = state.users;
  const who = { trustor_user_id: kms, trustee_user_id: other, impersonation: false };
  const answer = await fetch(`${keystoneUrl}/v3/OS-TRUST/trusts`, {
    method: 'POST',
    headers: { 'x-auth-token': await admin.token('kms', password, 'kms'), 'content-type': 'application/json' },
    body: JSON.stringify({ trust: { ...who, project_id: state.projects.kms, roles: [{ name: 'creator' }] } }),
  });
  const { trust } = (await answer.json()) as { trust: { id: string } };
  return { 'trust-id': trust.id, 'trustee-id': other, 'trustee-password': state.passwords.other };
}

test('token revoked: one new login for all that were refused, and they succeed', async () => {
  const session = cloud.session();
  const { value } = await session.token(patient().signal);
  await cloud.openStack.admin.revoke(value);
  const answers = await Promise.all(Array.from({ length: 12 }, () => listing(session)));
  assert.ok(answers.every(({ status }) => status === 200));
  assert.is(cloud.barbican.requests.filter(({ headers }) => headers['x-auth-token'] === value).length, 12);
  assert.is(logins(), 2);
  session.close();
});

test('a token that is born dead, as after a change of its user in the same second, is tried once more after a second', async () => {
  const session = cloud.session();
  const at: number[] = [];
  cloud.barbican.fault = () => (at.push(cloud.clock.now()) <= 2 ? { status: 401, body: 'Unauthorized' } : undefined);
  assert.is((await listing(session)).status, 200);
  assert.is(logins(), 3);
  assert.ok(at[2]! - at[1]! >= 1_000, String(at));
  session.close();
});

test('a service that refuses every token gets three of them and no more', async () => {
  const session = cloud.session();
  cloud.barbican.fault = () => ({ status: 401, body: 'Unauthorized' });
  const { message } = await rejectsWithCode(() => listing(session), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(message, 'refuses a token that Keystone has just given');
  assert.is(cloud.barbican.requests.length, 3);
  session.close();
});

test('a token near its end is used on, while a new one is got in the background', async () => {
  const session = cloud.session();
  const old = await session.token(patient().signal);
  cloud.clock.skip(0.85 * (old.expiresAt - old.issuedAt));
  let goOn = (): void => undefined;
  const held = new Promise<void>((resolve) => (goOn = resolve));
  cloud.keystone.fault = () => ({ after: held });
  assert.is((await session.token(patient().signal)).value, old.value, 'without a wait for Keystone');
  await until('the login is under way', () => logins() === 2);
  assert.is((await session.token(patient().signal)).value, old.value);
  goOn();
  await until('the new token is used', async () => (await session.token(patient().signal)).value !== old.value);
  assert.is(logins(), 2);
  session.close();
});

test('a dead Keystone is not hammered: many instances that share a login knock together, and ever less often', async () => {
  cloud.keystone.fault = () => 'reset';
  const session = cloud.session();
  let asked = 0;
  for (let passed = 0; passed < 4_000; passed += 50) {
    await Promise.all(Array.from({ length: 50 }, () => session.token(patient().signal).catch(() => asked++)));
    cloud.clock.skip(50);
  }
  session.close();
  const tries = logins();
  console.log(`\nFIGURE logins tried of a dead Keystone in 4 s: ${tries}, for ${asked} that asked for a token`);
  assert.ok(tries >= 2 && tries <= 8, String(tries));
});

test('a token goes nowhere that a redirect sends it', async () => {
  const session = cloud.session();
  cloud.barbican.fault = () => ({ status: 302, headers: { location: `${cloud.keystone.url}/stolen` } });
  assert.is((await listing(session)).status, 302);
  assert.is(cloud.keystone.count('GET', /stolen/), 0);
  session.close();
});

test('a token goes to no host out of a secret_ref', async () => {
  const thief = await HttpProxy.start(cloud.openStack.barbicanUrl);
  let refs = 0;
  cloud.barbican.fault = () => ({
    change: (body) => {
      const text = body.toString('latin1').replaceAll(cloud.openStack.barbicanUrl, () => (refs++, thief.url));
      return Buffer.from(text, 'latin1');
    },
  });
  const source = cloud.open('barbican:with-false-refs');
  await generateKey(source.admin!);
  (await source.load(patient())).destroy();
  assert.ok(refs > 2, 'keys and manifest had refs to elsewhere');
  assert.is(thief.requests.length, 0);
  await source.close!();
  await thief.close();
});

test('a refusal is certain only under a token just issued: under an older one it is asked again with a new one', async () => {
  const session = cloud.session();
  const client = new BarbicanClient(session, cloud.clock);
  const secret = await client.create('gone', Buffer.alloc(32, 1), patient().signal);
  await client.delete(secret, patient().signal);
  const read = () => client.payload(secret, patient().signal);
  const gets = () => cloud.barbican.count('GET', /payload$/);
  await rejectsWithCode(read, 'ERR_KMS_KEY_GONE');
  assert.equal([logins(), gets()], [1, 1]);
  cloud.clock.skip(6_000);
  await rejectsWithCode(read, 'ERR_KMS_KEY_GONE');
  assert.equal([logins(), gets()], [2, 3]);
  cloud.clock.skip(6_000);
  cloud.keystone.fault = () => 'reset';
  await rejectsWithCode(read, 'ERR_KMS_STORE_UNAVAILABLE');
  session.close();
});

test('access rules that do not allow the request are named as the likely reason', async () => {
  const tenant = await Tenant.create(cloud);
  const rules = [{ service: 'key-manager', method: 'GET', path: '/v1/containers' }];
  const { login } = await tenant.applicationCredential({ access_rules: rules });
  const session = cloud.session({ cloudConfig: cloud.cloudConf(login) });
  const { message } = await rejectsWithCode(() => listing(session), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(message, 'access rules');
  session.close();
});

test('an authority that is not known here is named; a client certificate is shown where it is demanded', async () => {
  const authority = new Authority(cloud.newPath('ca'));
  const mutual = { ...authority.issue(), requestCert: true, rejectUnauthorized: true };
  const ca = readFileSync(authority.caFile, 'utf8');
  const keystone = await HttpProxy.start(cloud.openStack.keystoneUrl, { ...mutual, ca });
  const login = { ...cloud.applicationCredential(), 'auth-url': keystone.url };
  const messageOf = async (more: Record<string, string>) => {
    const session = cloud.session({ cloudConfig: cloud.cloudConf({ ...login, ...more }) });
    const message = await session.token(patient().signal).then(
      () => 'logged in',
      (error: unknown) => (error as Error).message,
    );
    session.close();
    return message;
  };
  assert.match(await messageOf({}), 'authority of its certificate is not');
  assert.match(await messageOf({ 'ca-file': authority.caFile }), 'client certificate');
  const { certFile, keyFile } = authority.issue();
  assert.is(await messageOf({ 'ca-file': authority.caFile, 'cert-file': certFile, 'key-file': keyFile }), 'logged in');
  await keystone.close();
});

test.run();
