import { Authority, HttpProxy, patient, skipWithoutOpenStack, TestCloud } from '@teapot-kms/testing/daemons';
import { legacyCiphertext, rejectsWithCode, rememberSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { readFileSync, rmdirSync, writeFileSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey, promoteKey } from '../../src/keyset/administration.ts';
import { Kept } from './support/kept.ts';
import { suiteWithManifestInBarbican, suiteWithManifestOnHost } from './support/suite.ts';
import { Tenant } from './support/tenant.ts';

skipWithoutOpenStack();
const cloud = await TestCloud.start({ tokenCache: 300 });
test.after.each(() => cloud.heal());
test.after(() => cloud.stop());

suiteWithManifestOnHost(test, 'barbican (simple_crypto), manifest on the host', () => cloud);
suiteWithManifestInBarbican(test, 'barbican (simple_crypto), manifest in Barbican', () => cloud);

const newName = () => `m${randomBytes(6).toString('hex')}`;

test('only manifests of allowed users count in Barbican', async () => {
  const name = newName();
  const owner = cloud.open(`barbican:${name}`);
  const { keyId } = await generateKey(owner.admin!);
  // Another user of the project with the role creator plants a newer one.
  const { admin, state } = cloud.openStack;
  await admin.call('PUT', `/projects/${state.projects.kms}/users/${state.users.other}/roles/${state.roles.creator}`);
  const planter = cloud.open(`barbican:${name}`, { cloudConfig: cloud.cloudConf(cloud.password('other')) });
  await generateKey(planter.admin!);
  const keyset = await owner.load(patient());
  assert.is(keyset.primary.keyId, keyId);
  keyset.destroy();
  const both = cloud.open(`barbican:${name}`, { creators: [state.users.kms, state.users.other] });
  const seen = await both.load(patient());
  assert.is.not(seen.primary.keyId, keyId, 'allowed by a setting, it counts');
  seen.destroy();
  await Promise.all([owner, planter, both].map((source) => source.close!()));
});

test('a user whose manifests do not count gets an error, and writes none', async () => {
  const name = newName();
  const source = cloud.open(`barbican:${name}`, { creators: [cloud.openStack.state.users.other] });
  const { message } = await rejectsWithCode(() => generateKey(source.admin!), 'ERR_KMS_KEYSET_RULE');
  assert.match(message, cloud.openStack.state.users.kms);
  assert.equal(await cloud.client.list(`teapot-kms-keyset-${name}`, patient().signal), []);
  await source.close!();
});

test('a manifest whose writer died before it had stored the bytes is as if it were not there, for changes after two minutes', async () => {
  const name = newName();
  const source = cloud.open(`barbican:${name}`);
  const { keyId } = await generateKey(source.admin!);
  cloud.barbican.fault = ({ method }) => (method === 'PUT' || method === 'DELETE' ? 'reset' : undefined);
  await rejectsWithCode(
    () => cloud.client.create(`teapot-kms-keyset-${name}`, Buffer.from('x'), patient().signal),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  cloud.heal();
  const keyset = await source.load(patient());
  assert.is(keyset.primary.keyId, keyId);
  keyset.destroy();
  await rejectsWithCode(() => generateKey(source.admin!), 'ERR_KMS_KEYSET_CONFLICT');
  const database = new DatabaseSync(cloud.openStack.barbicanDatabase);
  const earlier = database.prepare(
    "UPDATE secrets SET created_at = datetime(created_at, '-121 seconds') WHERE name = ? AND deleted = 0 AND id NOT IN (SELECT secret_id FROM encrypted_data)",
  );
  assert.is(earlier.run(`teapot-kms-keyset-${name}`).changes, 1);
  database.close();
  await generateKey(source.admin!);
  await source.close!();
});

test('old manifests that may not be deleted do not make a change fail that was made', async () => {
  const name = newName();
  const source = cloud.open(`barbican:${name}`);
  let refused = 0;
  cloud.barbican.fault = ({ method }) => {
    if (method !== 'DELETE') return undefined;
    refused++;
    return { status: 403 };
  };
  const keyIds: string[] = [];
  for (let change = 0; change < 8; change++) keyIds.push((await generateKey(source.admin!)).keyId);
  assert.ok(refused > 0);
  cloud.heal();
  const keyset = await source.load(patient());
  assert.equal(keyset.manifest.keys.map(({ id }) => id).sort(), keyIds.sort());
  keyset.destroy();
  await source.close!();
});

test("where the clocks of Barbican's hosts disagree, a manifest that would not be the newest is taken back", async () => {
  const name = newName();
  const source = cloud.open(`barbican:${name}`);
  const { keyId } = await generateKey(source.admin!);
  const next = await generateKey(source.admin!);
  const promote = () => promoteKey(source.admin!, next.keyId);
  const known = (await cloud.client.list(`teapot-kms-keyset-${name}`, patient().signal)).map(({ id }) => id);
  // A host that is years behind makes the next one.
  const behind = (body: Buffer) => {
    const { secrets } = JSON.parse(body.toString()) as { secrets: { secret_ref: string; created: string }[] };
    for (const one of secrets) {
      if (!known.some((id) => one.secret_ref.endsWith(id))) one.created = '2001-01-01T00:00:00.000000';
    }
    return Buffer.from(JSON.stringify({ secrets }));
  };
  cloud.barbican.fault = ({ path }) => (path.includes('sort=') ? { change: behind } : undefined);
  const { message } = await rejectsWithCode(promote, 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(message, 'clocks disagree');
  cloud.heal();
  const keyset = await source.load(patient());
  assert.is(keyset.primary.keyId, keyId);
  keyset.destroy();
  await promote();
  await source.close!();
});

// What doctor advises (docs/remedies.md): each test breaks something, does what is advised, and opens what was encrypted before.

test('a login that is wrong in many ways: each remedy leads to the next one, and at the end to the data', async () => {
  const kept = await Kept.make(cloud);
  const path = cloud.newPath('cloud.conf');
  const settings = { cloudConfig: path };
  const write = (lines: Readonly<Record<string, string>>, more = '') => cloud.writeCloudConf(path, lines, more);
  const { 'application-credential-id': id, 'application-credential-secret': secret } = cloud.applicationCredential();
  const login = { 'application-credential-id': id! };

  await kept.advised({ ...settings, cloud: { name: 'mine' } }, 'remove one of cloudConfig and cloud');
  await kept.advised(settings, 'create the file, or correct its path in the configuration');
  mkdirSync(path);
  await kept.advised(settings, `make ${path} a file of that kind`);
  rmdirSync(path);
  write(login, 'secret="not closed\n');
  await kept.advised(settings, `correct line 4 of ${path}`);
  write({ ...login, 'auth-type': 'v3totp' });
  await kept.advised(settings, 'use an application credential (v3applicationcredential), a password or a token');
  write({ ...login, 'auth-type': 'v3applicationcredential' });
  await kept.advised(settings, `correct the login in ${path}`);
  const whole = { ...login, 'application-credential-secret': secret! };
  write({ ...whole, 'auth-url': `http://${'no-such-name'.repeat(6)}.invalid` });
  await kept.advised(settings, 'check the URL and the DNS of this host');
  write({ ...whole, 'auth-url': cloud.keystone.url.replace('http:', 'https:') });
  await kept.advised(settings, 'check whether its URL begins with http:');
  cloud.barbican.fault = () => ({ status: 201, body: '{}' });
  write({ ...whole, 'auth-url': cloud.barbican.url });
  await kept.advised(settings, 'check the auth URL');
  cloud.heal();
  write(whole);
  await kept.healed(settings);
  assert.not(JSON.stringify(await kept.advice({ ...settings, region: 'Elsewhere' })).includes(secret!));
});

test('a clouds.yaml with several clouds, none of which is chosen', async () => {
  const kept = await Kept.make(cloud);
  const { id, secret } = cloud.openStack.state.application_credential;
  const auth = { auth_url: cloud.keystone.url, application_credential_id: id, application_credential_secret: secret };
  const file = cloud.newPath('clouds.yaml');
  writeFileSync(file, JSON.stringify({ clouds: { mine: { auth }, other: {} } }), { mode: 0o600 });
  const settings = { cloudConfig: undefined, cloud: { file } };
  await kept.advised(settings, 'set cloud: { name: ... } to a cloud of this file');
  await kept.healed({ ...settings, cloud: { file, name: 'mine' } });
});

test('rights that are too many, or too few: no project, the role admin, access rules without the request', async () => {
  const tenant = await Tenant.create(cloud);
  const { 'tenant-id': project, ...user } = tenant.login;
  const as = (login: Readonly<Record<string, string>>) => ({ cloudConfig: cloud.cloudConf(login) });
  const kept = await Kept.make(cloud, as(tenant.login));

  await kept.advised(as(user), 'name a project, or use an application credential');
  await kept.healed(as({ ...user, 'tenant-id': project! }));

  const { roles } = (await cloud.openStack.admin.call('GET', '/roles?name=admin')) as { roles: { id: string }[] };
  await tenant.grant(roles[0]!.id);
  await kept.advised(as(tenant.login), 'an application credential of its own with only the role creator or observer');
  await kept.healed(as((await tenant.applicationCredential()).login));

  const withRules = async (method: string, path: string) =>
    as((await tenant.applicationCredential({ access_rules: [{ service: 'key-manager', method, path }] })).login);
  const remedy = await kept.advised(await withRules('GET', '/v1/containers'), 'access rules of the application');
  const [, method, path] = /^allow (\S+) (\S+) of key-manager/.exec(remedy)!;
  await kept.healed(await withRules(method!, path!));
});

test('no TLS where it should be, or no certificates: each remedy leads to TLS that is verified', async () => {
  const authority = new Authority(cloud.newPath('ca'));
  const { cert, key } = authority.issue();
  const { caFile } = authority;
  const keystone = await HttpProxy.start(cloud.openStack.keystoneUrl, { cert, key });
  const barbican = await HttpProxy.start(cloud.openStack.barbicanUrl, { cert, key });
  const as = (lines: Readonly<Record<string, string>>, endpoint?: string) => ({
    cloudConfig: cloud.cloudConf({ ...cloud.applicationCredential(), 'auth-url': keystone.url, ...lines }),
    endpoint,
  });
  const kept = await Kept.make(cloud);

  await kept.advised(as({ 'tls-insecure': 'true' }, barbican.url), 'remove tls-insecure (insecure, verify: false)');
  await kept.advised(as({}, barbican.url), 'set caFile to the certificates of the authority of that server');
  await kept.healed({ ...as({}, barbican.url), caFile });

  const verified = { 'ca-file': caFile };
  await kept.advised(as(verified), 'or set endpoint to the URL to use, with https');
  await kept.healed(as(verified, barbican.url));
  // Not a loopback address by its name, and yet this host.
  const plain = cloud.openStack.barbicanUrl.replace('127.0.0.1', '0.0.0.0');
  await kept.advised(as(verified, plain), 'use https in the auth URL and in endpoint');
  await kept.healed(as(verified, barbican.url));

  const refusing = createServer().on('connect', (_request, socket) => void socket.end('HTTP/1.1 403 no\r\n\r\n'));
  await new Promise<void>((resolve) => refusing.listen(0, '127.0.0.1', resolve));
  const elsewhere = as({ ...verified, 'auth-url': keystone.url.replace('127.0.0.1', '0.0.0.0') }, barbican.url);
  try {
    process.env['HTTPS_PROXY'] = `http://127.0.0.1:${String((refusing.address() as AddressInfo).port)}`;
    await kept.advised(elsewhere, 'correct that variable, or add the host to NO_PROXY');
    process.env['NO_PROXY'] = '0.0.0.0';
    await kept.healed(elsewhere);
  } finally {
    delete process.env['HTTPS_PROXY'];
    delete process.env['NO_PROXY'];
    refusing.close();
    await Promise.all([keystone.close(), barbican.close()]);
  }
});

test("a test secret fails, or comes back changed: Barbican's log has the reason", async () => {
  const kept = await Kept.make(cloud);
  const database = new DatabaseSync(cloud.openStack.barbicanDatabase);
  database.exec('ALTER TABLE encrypted_data RENAME TO aside');
  try {
    await kept.advised({}, "look into Barbican's log");
    assert.match(readFileSync(cloud.openStack.barbicanLog, 'utf8'), 'no such table: encrypted_data');
  } finally {
    database.exec('ALTER TABLE aside RENAME TO encrypted_data');
    database.close();
  }
  await kept.healed({});
  cloud.barbican.fault = ({ method, path }) =>
    method === 'GET' && path.endsWith('/payload') ? { change: (body) => body.reverse() } : undefined;
  await kept.advised({}, "look into Barbican's log: it does not return what was stored");
  cloud.heal();
  await kept.healed({});
});

test("a legacy key that was deleted is restored from Barbican's backup, and a wrong key-id is corrected", async () => {
  const kept = await Kept.make(cloud);
  const [key, plaintext] = [randomBytes(32), randomBytes(32)];
  for (const secret of [key, plaintext]) rememberSecret(secret);
  const keyId = await cloud.client.create('legacy', Buffer.from(key), patient().signal);
  const sealed = { keyId, ciphertext: legacyCiphertext(key, plaintext) };
  const as = (text: string) => ({
    cloudConfig: cloud.cloudConf(cloud.applicationCredential(), `[KeyManager]\nkey-id=${text}\n`),
  });
  const backup = cloud.newPath('backup.db');
  const database = new DatabaseSync(cloud.openStack.barbicanDatabase);
  try {
    database.exec(`VACUUM INTO '${backup}'`);
    await cloud.client.delete(keyId, patient().signal);
    await kept.advised(as(keyId), 'restore this secret in Barbican: what the other plugin encrypted needs it');
    database.exec(`ATTACH '${backup}' AS backup`);
    const tables = database.prepare("SELECT name FROM backup.sqlite_master WHERE type = 'table'").all();
    for (const { name } of tables as { name: string }[]) {
      database.exec(`INSERT OR REPLACE INTO main."${name}" SELECT * FROM backup."${name}"`);
    }
  } finally {
    database.close();
  }
  await kept.healed(as(keyId));
  await kept.advised(as(`http://barbican/v1/secrets/${keyId}`), 'set key-id in cloud.conf to the UUID alone');
  await kept.healed(as(keyId));
  assert.equal(await kept.opens(as(keyId), sealed), plaintext);
});

test.run();
