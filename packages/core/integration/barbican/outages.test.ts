/** Changes of services, secrets, catalog and clocks: what an operator sees, what keeps working, and that it recovers by itself. */
import { HttpProxy, patient, skipWithoutOpenStack, TestCloud } from '@teapot-kms/testing/daemons';
import { rejectsWithCode, rememberSecret, until } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keyset/administration.ts';
import { HostRecords } from '../../src/keyset/host-records.ts';
import { KeysetGuard } from '../../src/service/keyset-guard.ts';
import { RunningService } from './support/running.ts';

skipWithoutOpenStack();
const cloud = await TestCloud.start({ tokenCache: 300 });
test.after.each(() => cloud.heal());
test.after(() => cloud.stop());

const figure = (what: string, text: string) => console.log(`\nFIGURE ${what}: ${text}`);

test('Keystone down: nobody notices while tokens are good; then keys in memory go on', async () => {
  const running = await RunningService.start(cloud);
  await cloud.openStack.stopKeystone();
  const before = running.service.describe().counters['loads']!;
  await until('it loads without Keystone', () => running.service.describe().counters['loads']! > before + 3);
  assert.is(await running.status(), 'ok');
  // A credential that is new to us needs a login.
  cloud.writeCloudConf(running.cloudConfig, cloud.password('kms'));
  figure('Keystone down, Status says', await running.untilStatus(/closed without an answer/));
  await running.works();
  await cloud.openStack.startKeystone();
  await running.untilOk();
  await running.close();
});

test('Keystone hung: calls are answered all along, and it heals', async () => {
  const running = await RunningService.start(cloud);
  cloud.keystone.fault = () => 'hang';
  // A credential that is new to us needs a login.
  cloud.writeCloudConf(running.cloudConfig, cloud.password('kms'));
  await until('it logs in', () => cloud.keystone.requests.length > 0);
  cloud.clock.skip(10_000);
  figure('Keystone hung, Status says', await running.untilStatus(/did not answer within 10000 ms/));
  await running.works();
  cloud.heal();
  await running.untilOk();
  await running.close();
});

test('Barbican down: keys in memory go on', async () => {
  const running = await RunningService.start(cloud);
  const sealed = await running.seal();
  await cloud.openStack.stopBarbican();
  figure('Barbican down, Status says', await running.untilStatus(/closed without an answer/));
  await running.works();
  await cloud.openStack.startBarbican();
  await running.untilOk();
  await running.opens(sealed);
  await running.close();
});

test('Barbican down for longer than maxUnconfirmed: the keys are not used any more, and come back', async () => {
  const running = await RunningService.start(cloud);
  const { service } = running;
  cloud.barbican.fault = () => 'reset';
  cloud.clock.skip(72 * 3_600_000);
  await running.untilStatus(/^ERR_KMS_STORE_UNAVAILABLE$/);
  await rejectsWithCode(() => running.seal(), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(service.describe().primary, undefined);
  cloud.heal();
  await running.untilOk();
  await running.works();
  await running.close();
});

test('a manifest that was rolled back, and Barbican has the keys still: they stay in use past maxUnconfirmed', async () => {
  const records = new HostRecords(cloud.newPath('state'));
  const options = { guard: new KeysetGuard({ name: 'i', uri: 'barbican:', records }) };
  const running = await RunningService.start(cloud, cloud.applicationCredential(), {}, options);
  const older = readFileSync(running.manifest);
  const keyId = await running.rotate();
  const sealed = await running.seal();
  writeFileSync(running.manifest, older);
  await running.untilWarned(/^ERR_KMS_KEYSET_STALE/);
  for (let days = 0; days < 6; days += 2) {
    const before = cloud.barbican.count('GET', /payload/);
    cloud.clock.skip(48 * 3_600_000);
    await until('Barbican is asked for the keys', () => cloud.barbican.count('GET', /payload/) >= before + 4);
  }
  await running.opens(sealed);
  assert.is((await running.seal()).keyId, keyId);
  cloud.barbican.fault = () => 'reset';
  cloud.clock.skip(72 * 3_600_000);
  await running.untilStatus(/^ERR_KMS_STORE_UNAVAILABLE$/);
  await running.close();
});

test('Barbican slow, 3.5 s for each answer: it loads, five keys as well, and Status stays ok', async () => {
  const running = await RunningService.start(cloud, cloud.applicationCredential(), {}, { statusGraceMs: 30_000 });
  for (let count = 1; count < 5; count++) await generateKey(running.source.admin!);
  cloud.barbican.fault = () => ({ delayMs: 3_500 });
  const other = cloud.open(running.source.uri);
  const started = performance.now();
  const keyset = await other.load(patient());
  figure(
    'load of 5 keys from a Barbican that takes 3.5 s for each',
    `${((performance.now() - started) / 1000).toFixed(1)} s`,
  );
  assert.is(keyset.manifest.keys.length, 5);
  keyset.destroy();
  assert.is(await running.status(), 'ok');
  await running.works();
  cloud.heal();
  await running.untilOk();
  await other.close!();
  await running.close();
});

test('database locked: loads go on, "keys generate" says so and works afterwards', async () => {
  const running = await RunningService.start(cloud);
  const database = new DatabaseSync(cloud.openStack.barbicanDatabase);
  database.exec('BEGIN IMMEDIATE');
  try {
    const before = running.service.describe().counters['loads']!;
    const error = await rejectsWithCode(() => generateKey(running.source.admin!), 'ERR_KMS_STORE_UNAVAILABLE');
    figure('database locked, "keys generate" says', error.message);
    assert.match(error.message, 'Barbican answered 500');
    await until('it loads all the same', () => running.service.describe().counters['loads']! > before);
    assert.is(await running.status(), 'ok');
  } finally {
    database.close();
  }
  await generateKey(running.source.admin!);
  await running.close();
});

test('the secret of an old key deleted: the key in memory stays, Status stays ok, and a plugin that starts does not have it', async () => {
  const running = await RunningService.start(cloud);
  const old = await running.seal();
  await running.rotate();
  const oldSecret = running.secretOf(old.keyId);
  const key = (await cloud.client.payload(oldSecret, patient().signal)).expose();
  await cloud.client.delete(oldSecret, patient().signal);
  figure('secret of an old key deleted, the operator sees', await running.untilWarned(/^ERR_KMS_KEY_GONE: key .* 404/));
  assert.ok(running.failuresWith('ERR_KMS_STORE_UNAVAILABLE') > 0, 'the first refusal was not certain');
  await running.opens(old);
  assert.is(await running.status(), 'ok');
  const started = await running.source.load(patient());
  await rejectsWithCode(() => started.find(old.keyId), 'ERR_KMS_KEY_GONE');
  started.destroy();
  await running.works();
  // The operator uploads the same bytes again, from a backup, and names the new secret in the entry of the same key_id.
  running.nameSecret(old.keyId, await cloud.client.create('again', key, patient().signal));
  await running.untilOk();
  await running.opens(old);
  await running.close();
});

test('the secret of the primary expired: certain after two looks; it recovers once its entry names a re-uploaded secret', async () => {
  const running = await RunningService.start(cloud);
  const sealed = await running.seal();
  const key = (await cloud.client.payload(running.secretOf(sealed.keyId), patient().signal)).expose();
  rememberSecret(key);
  const token = await cloud.openStack.admin.token('kms', cloud.openStack.state.passwords.kms, 'kms');
  const made = (await cloud.openStack.admin.barbican(token, 'POST', '/secrets', {
    name: 'expires',
    payload: key.toString('base64'),
    payload_content_type: 'application/octet-stream',
    payload_content_encoding: 'base64',
  })) as { secret_ref: string };
  const secret = made.secret_ref.split('/').at(-1)!;
  running.nameSecret(sealed.keyId, secret);
  await running.untilLoadedAgain();
  const database = new DatabaseSync(cloud.openStack.barbicanDatabase);
  const expire = database.prepare("UPDATE secrets SET expiration = datetime('now', '-1 second') WHERE id = ?");
  assert.is(expire.run(secret).changes, 1);
  database.close();
  await running.untilStatus(/^ERR_KMS_KEY_GONE$/);
  figure('secret expired, the operator sees', await running.untilWarned(/ERR_KMS_KEY_GONE/));
  await running.works();
  running.nameSecret(sealed.keyId, await cloud.client.create('again', key, patient().signal));
  await running.untilOk();
  await running.opens(sealed);
  await running.close();
});

test('past goneGrace, a primary that is gone for certain seals nothing any more', async () => {
  const running = await RunningService.start(cloud, cloud.applicationCredential(), {}, { goneGraceMs: 500 });
  const { keyId } = await running.seal();
  await cloud.client.delete(running.secretOf(keyId), patient().signal);
  await running.untilStatus(/^ERR_KMS_KEY_GONE$/);
  cloud.clock.skip(500);
  await rejectsWithCode(() => running.seal(), 'ERR_KMS_KEY_GONE');
  await running.close();
});

test("a proxy's 404 says nothing of a secret: Barbican counts as unreachable", async () => {
  const running = await RunningService.start(cloud);
  cloud.barbican.fault = () => ({
    status: 404,
    body: '<html><title>404 Not Found</title></html>',
    headers: { 'content-type': 'text/html' },
  });
  const status = await running.untilStatus(/Barbican answered 404: 404 Not Found/);
  assert.match(status, 'last good answer');
  cloud.heal();
  await running.untilOk();
  await running.close();
});

test('wrong payload size: base64 uploaded as text is recognised, the keys in memory go on', async () => {
  const running = await RunningService.start(cloud);
  const { keyId } = await running.seal();
  const right = running.secretOf(keyId);
  const token = await cloud.openStack.admin.token('kms', cloud.openStack.state.passwords.kms, 'kms');
  const payload = randomBytes(32).toString('base64');
  const wrong = { name: 'text', payload, payload_content_type: 'text/plain' };
  const made = (await cloud.openStack.admin.barbican(token, 'POST', '/secrets', wrong)) as { secret_ref: string };
  running.nameSecret(keyId, made.secret_ref.split('/').at(-1)!);
  const warning = await running.untilWarned(/expected exactly 32 raw bytes, found 44; it is probably base64/);
  figure('wrong payload size, the operator sees', warning);
  assert.not.ok(warning.includes(payload));
  await running.works();
  running.nameSecret(keyId, right);
  await running.untilOk();
  await running.close();
});

test('catalog without the service: what there is instead is named', async () => {
  const running = await RunningService.start(cloud, cloud.applicationCredential(), { endpoint: undefined });
  const { services } = (await cloud.openStack.admin.call('GET', '/services?type=key-manager')) as {
    services: { id: string }[];
  };
  const enable = (enabled: boolean) =>
    cloud.openStack.admin.call('PATCH', `/services/${services[0]!.id}`, { service: { enabled } });
  await enable(false);
  cloud.writeCloudConf(running.cloudConfig, cloud.password('kms'));
  figure(
    'catalog without the service, Status says',
    await running.untilStatus(/no key-manager service in the catalog \(it has: identity\)/),
  );
  await running.works();
  await enable(true);
  await running.untilOk();
  await running.close();
});

test('a second region: refused by name until one is set; where the key never was, its 404 is no loss', async () => {
  const { admin, barbicanUrl } = cloud.openStack;
  const running = await RunningService.start(cloud, cloud.applicationCredential(), { endpoint: undefined });
  const second = await HttpProxy.start(barbicanUrl);
  const body = JSON.stringify({ code: 404, title: 'Not Found', description: 'Secret not found.' });
  second.fault = () => ({ status: 404, body, headers: { 'content-type': 'application/json' } });
  const { services } = (await admin.call('GET', '/services?type=key-manager')) as { services: { id: string }[] };
  await admin.call('POST', '/regions', { region: { id: 'Elsewhere' } });
  const { endpoint } = (await admin.call('POST', '/endpoints', {
    endpoint: { service_id: services[0]!.id, interface: 'public', region_id: 'Elsewhere', url: second.url },
  })) as { endpoint: { id: string } };
  try {
    // A login that is new to us brings the new catalog.
    cloud.writeCloudConf(running.cloudConfig, cloud.password('kms'));
    figure('two regions, Status says', await running.untilStatus(/set region: one of Elsewhere, RegionOne/));
    await running.works();
    const login = cloud.applicationCredential();
    cloud.writeCloudConf(running.cloudConfig, { ...login, region: 'Elsewhere' });
    figure(
      'the other region, Status says',
      await running.untilStatus(/was read at .*region RegionOne.* answered 404.*region Elsewhere/),
    );
    const asked = second.requests.length;
    await until('it was asked some more times', () => second.requests.length > asked + 3);
    assert.match(await running.status(), 'was read at');
    await running.works();
    cloud.writeCloudConf(running.cloudConfig, { ...login, region: 'RegionOne' });
    await running.untilOk();
  } finally {
    await admin.call('DELETE', `/endpoints/${endpoint.id}`);
    await admin.call('DELETE', '/regions/Elsewhere');
    await second.close();
    await running.close();
  }
});

for (const [offset, text] of [
  [300_000, /clock is (\d+) s ahead of/],
  [-300_000, /clock is (\d+) s behind/],
] as const) {
  test(`clock ${String(offset / 60_000)} minutes off: nothing changes, and doctor says so`, async () => {
    cloud.clock.wallOffsetMs = offset;
    const running = await RunningService.start(cloud);
    await running.works();
    const findings = await running.source.examine!(patient());
    const clock = findings.find((finding) => text.test(finding.text));
    assert.is(clock?.level, 'hint');
    // The time of Keystone's answer is part of it.
    const seconds = Number(text.exec(clock?.text ?? '')?.[1]);
    assert.ok(seconds > 240 && seconds < 360, clock?.text);
    figure('clock off, doctor says', clock?.text ?? '');
    await running.close();
  });
}

test('doctor: catalog, login, roles, clock and the round trip of a secret, which is removed', async () => {
  const source = cloud.open(`barbican:${cloud.newPath('none')}`, { endpoint: undefined });
  const remarks = await source.examine!(patient());
  assert.equal(
    remarks.filter(({ level }) => level !== 'ok'),
    [],
  );
  const text = remarks.map((remark) => remark.text).join('\n');
  for (const expected of [
    'logged in as kms',
    'roles: creator',
    's ahead of Keystone',
    `Barbican is at ${cloud.openStack.barbicanUrl}`,
  ]) {
    assert.ok(
      text.includes(expected) || (expected.startsWith('s ahead') && text.includes('behind')),
      `${expected}\n${text}`,
    );
  }
  assert.match(text, 'a test secret was made, read and removed');
  assert.equal(await cloud.client.list('teapot-kms-doctor', patient().signal), []);
  await source.close!();
});

test('doctor: a wrong login, a user that may only read, one that may not even that', async () => {
  const examine = async (login: Record<string, string>) => {
    const source = cloud.open(`barbican:${cloud.newPath('none')}`, { cloudConfig: cloud.cloudConf(login) });
    const remarks = await source.examine!(patient());
    await source.close!();
    return remarks;
  };
  const wrong = await examine({ ...cloud.password('kms'), password: 'no' });
  assert.is(wrong[0]?.level, 'problem');
  assert.match(wrong[0]?.remedy ?? '', 'check that user kms exists');
  assert.ok((await examine(cloud.password('observer'))).some(({ text }) => text.includes('enough to serve')));
  assert.ok(
    (await examine(cloud.password('audit'))).some(({ level, text }) => level === 'hint' && text.includes('audit')),
  );
});

test.run();
