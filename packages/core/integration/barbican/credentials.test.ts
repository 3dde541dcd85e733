/** Changes of tokens, credentials, roles and projects: what an operator sees, what keeps working, and that it recovers by itself. */
import { Authority, HttpProxy, patient, skipWithoutOpenStack, TestCloud } from '@teapot-kms/testing/daemons';
import { until } from '@teapot-kms/testing';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { RunningService } from './support/running.ts';
import { Tenant } from './support/tenant.ts';

skipWithoutOpenStack();
/** Seconds. */
const TOKEN_TTL = 10;
const cloud = await TestCloud.start({ tokenTtl: TOKEN_TTL, tokenCache: 1 });
test.after.each(() => cloud.heal());
test.after(() => cloud.stop());

const logins = () => cloud.keystone.count('POST', /auth\/tokens/);

/** These two wait for a token to end, so they run beside all the others, over proxies of their own. */
const waiting = { renewed: renewedAhead(), expired: expiredUnknownToUs() };
for (const one of Object.values(waiting)) one.catch(() => undefined);

test('application credential deleted: keys in memory go on, Status says why, a new credential on disk is picked up', async () => {
  const tenant = await Tenant.create(cloud);
  const old = await tenant.applicationCredential();
  const running = await RunningService.start(cloud, old.login);
  const sealed = await running.seal();
  await old.remove();
  const status = await running.untilStatus(/Keystone does not let application credential .* in: .*404/);
  console.log(`\nFIGURE application credential deleted, Status says: ${status}`);
  await running.works();
  const next = await tenant.applicationCredential();
  cloud.writeCloudConf(running.cloudConfig, next.login);
  await running.untilOk();
  await running.opens(sealed);
  await running.close();
});

test('a changed credential is used before the old one ends', async () => {
  const tenant = await Tenant.create(cloud);
  const old = await tenant.applicationCredential();
  const running = await RunningService.start(cloud, old.login);
  const next = await tenant.applicationCredential();
  const before = logins();
  cloud.writeCloudConf(running.cloudConfig, next.login);
  await until('it has logged in with it', () => logins() > before);
  await old.remove();
  await running.untilLoadedAgain();
  assert.is(running.refusals, 0);
  await running.close();
});

test('role removed: Status says that Keystone refuses, and the service recovers when it is granted again', async () => {
  const tenant = await Tenant.create(cloud);
  const running = await RunningService.start(cloud, tenant.login);
  await tenant.takeRole();
  const status = await running.untilStatus(/Keystone does not let user .* in: .*401/);
  console.log(`\nFIGURE role taken away, Status says: ${status}`);
  await running.works();
  await tenant.grant();
  await running.untilOk();
  await running.close();
});

test('project disabled: as above', async () => {
  const tenant = await Tenant.create(cloud);
  const running = await RunningService.start(cloud, tenant.login);
  await tenant.setProjectEnabled(false);
  const status = await running.untilStatus(/Keystone does not let user .* in/);
  console.log(`\nFIGURE project disabled, Status says: ${status}`);
  await running.works();
  await tenant.setProjectEnabled(true);
  await running.untilOk();
  await running.close();
});

test('another role, which may not read: a loss for certain, and it ends when the role is right again', async () => {
  const tenant = await Tenant.create(cloud);
  const running = await RunningService.start(cloud, tenant.login);
  await tenant.grant(cloud.openStack.state.roles.audit);
  await tenant.takeRole();
  await running.untilStatus(/^ERR_KMS_KEY_GONE$/);
  await running.works();
  await tenant.grant();
  await running.untilOk();
  await running.close();
});

test('access rules for the payload alone are enough to serve', async () => {
  const tenant = await Tenant.create(cloud);
  const running = await RunningService.start(cloud, tenant.login);
  const rules = [{ service: 'key-manager', method: 'GET', path: '/v1/secrets/*/payload' }];
  const { login } = await tenant.applicationCredential({ access_rules: rules });
  const before = logins();
  cloud.writeCloudConf(running.cloudConfig, login);
  await until('it has logged in with it', () => logins() > before);
  await running.untilLoadedAgain();
  assert.is(running.refusals, 0);
  const remarks = await running.source.examine!(patient());
  assert.equal(
    remarks.filter(({ level }) => level !== 'ok'),
    [],
    'doctor asks for no more than they allow',
  );
  assert.ok(remarks.some(({ text }) => text === 'access rules allow: GET /v1/secrets/*/payload of key-manager'));
  await running.close();
});

test('a certificate of Keystone that has expired is named, and a renewed one is taken', async () => {
  const authority = new Authority(cloud.newPath('ca'));
  const running = await RunningService.start(cloud);
  const expired = await HttpProxy.start(cloud.openStack.keystoneUrl, authority.issue(-1));
  const login = { ...cloud.applicationCredential(), 'ca-file': authority.caFile };
  cloud.writeCloudConf(running.cloudConfig, { ...login, 'auth-url': expired.url });
  const status = await running.untilStatus(/its certificate has expired/);
  console.log(`\nFIGURE certificate expired, Status says: ${status}`);
  await running.works();
  const renewed = await HttpProxy.start(cloud.openStack.keystoneUrl, authority.issue());
  cloud.writeCloudConf(running.cloudConfig, { ...login, 'auth-url': renewed.url });
  await running.untilOk();
  await running.close();
  await Promise.all([expired.close(), renewed.close()]);
});

test('a token is renewed ahead of its end, and no load fails', async () => {
  const { logins, failures } = await waiting.renewed;
  assert.ok(logins > 1);
  assert.is(failures, 0);
});

test('token expired, unknown to us: one new login, and the load succeeds', async () => {
  const { logins, failures } = await waiting.expired;
  assert.ok(logins > 1);
  assert.is(failures, 0, 'nobody noticed');
});

test("Keystone down for Barbican: it cannot check tokens, which is its trouble and not the key's", async () => {
  const running = await RunningService.start(cloud);
  await cloud.openStack.stopKeystone();
  await running.untilStatus(/Barbican answered 503|closed without an answer/);
  await running.works();
  await cloud.openStack.startKeystone();
  await running.untilOk();
  await running.close();
});

function renewedAhead() {
  return overATokenLife((proxy) => proxy);
}

/** Keystone's answer is made to say that the token lives for many years. */
function expiredUnknownToUs() {
  return overATokenLife((proxy) => {
    proxy.fault = () => ({
      change: (body) => Buffer.from(body.toString().replace(/("expires_at": ?")\d{4}/, '$12099')),
    });
  });
}

async function overATokenLife(prepare: (keystone: HttpProxy) => unknown) {
  const keystone = await HttpProxy.start(cloud.openStack.keystoneUrl);
  prepare(keystone);
  const login = { ...cloud.applicationCredential(), 'auth-url': keystone.url };
  const running = await RunningService.start(cloud, login, { endpoint: cloud.openStack.barbicanUrl });
  // Keystone's own clock ends the token.
  await sleep((TOKEN_TTL + 1) * 1000);
  await running.untilLoadedAgain();
  const failures = running.service.describe().counters['load_failures'];
  await running.close();
  await keystone.close();
  return { logins: keystone.count('POST', /auth\/tokens/), failures };
}

test.run();
