// When files are read and plugins run again. The clock moves only when a test moves it.
import { FakeClock, newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { appendFileSync, chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KubeCredentials } from '../../../src/stores/k8s-secret/credentials.ts';
import { exposedFiles } from '../../../src/stores/k8s-secret/kubeconfig/identity.ts';
import { kubeconfigSchema } from '../../../src/stores/k8s-secret/kubeconfig/schema.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';

interface Site {
  directory: string;
  clock: FakeClock;
  shared: SharedResources;
  credentials: KubeCredentials;
}

const test = suite<Site>('credentials');

test.before.each((site) => {
  site.directory = newDirectory();
  site.clock = new FakeClock();
  site.shared = new SharedResources(undefined, site.clock);
  site.credentials = new KubeCredentials({ kubeconfig: join(site.directory, 'config') }, site.shared);
});
test.after.each(({ credentials }) => credentials.close());

function writeConfig({ directory }: Site, user: object, cluster: object = {}): void {
  const config = {
    clusters: [{ name: 'c', cluster: { server: 'https://10.0.0.1:6443', ...cluster } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  writeFileSync(join(directory, 'config'), JSON.stringify(config), { mode: 0o600 });
}

const apiVersion = 'client.authentication.k8s.io/v1';

/** A user whose plugin gives token-1, token-2 and so on, or fails while there is a file `broken`. */
function writePlugin(site: Site, lifetimeMs?: number): object {
  const { directory, clock } = site;
  const expirationTimestamp = lifetimeMs === undefined ? null : new Date(clock.wall() + lifetimeMs).toISOString();
  const status = JSON.stringify({ token: 'token-N', expirationTimestamp });
  const answer = `{"kind":"ExecCredential","apiVersion":"${apiVersion}","status":${status}}`;
  const script = `#!/bin/sh
cd ${directory}; echo run >>runs; [ -e broken ] && exit 1
env >environment
echo '${answer}' | sed "s/token-N/token-$(grep -c run runs)/"`;
  writeFileSync(join(directory, 'plugin'), script, { mode: 0o700 });
  return { exec: { apiVersion, command: './plugin', interactiveMode: 'Never' } };
}

const runsOf = ({ directory }: Site): number =>
  existsSync(join(directory, 'runs')) ? readFileSync(join(directory, 'runs'), 'utf8').split('\n').length - 1 : 0;

const tokenOf = async ({ credentials }: Site): Promise<string | undefined> => (await credentials.current()).token;

for (const [what, mode, said] of [
  ['everyone', 0o644, 1],
  ['its owner', 0o600, 0],
] as const) {
  test(`a token file that ${what} can read is used, and ${said > 0 ? 'reported once' : 'not reported'}`, async (site) => {
    const file = join(site.directory, 'token');
    writeConfig(site, { tokenFile: 'token' });
    writeFileSync(file, 'a-token');
    chmodSync(file, mode);
    const reported: object[] = [];
    const shared = new SharedResources((event) => reported.push(event), site.clock);
    const credentials = new KubeCredentials({ kubeconfig: join(site.directory, 'config') }, shared);
    const { token, exposed } = await credentials.current();
    assert.equal([token, exposed.length], ['a-token', said]);
    await site.clock.advance(60_000);
    await credentials.current();
    assert.is(reported.length, said);
    if (said > 0) assert.match(JSON.stringify(reported), `${file} contains a secret, and everyone can read it`);
    credentials.close();
  });
}

test('the file of a client key that everyone can read is reported', async () => {
  const directory = newDirectory();
  writeFileSync(join(directory, 'client.key'), '', { mode: 0o644 });
  const value = kubeconfigSchema.parse({ users: [{ name: 'u', user: { 'client-key': 'client.key' } }] }).users[0]!
    .user!;
  assert.match(
    (await exposedFiles({ where: 'u', directory, value }))[0]?.remedy ?? '',
    `chmod o= ${directory}/client.key`,
  );
});

test('a token file is read again after a minute', async (site) => {
  writeConfig(site, { tokenFile: 'token' });
  writeFileSync(join(site.directory, 'token'), 'old');
  assert.is(await tokenOf(site), 'old');
  writeFileSync(join(site.directory, 'token'), 'new');
  assert.is(await tokenOf(site), 'old');
  await site.clock.advance(60_000);
  assert.is(await tokenOf(site), 'new');
});

test('credentials that were refused are read again at once, but not twice in a second', async (site) => {
  writeConfig(site, { token: 'old' });
  const first = await site.credentials.current();
  await site.clock.advance(1_000);
  writeConfig(site, { token: 'new' });
  site.credentials.refused(first);
  const second = await site.credentials.current();
  assert.is(second.token, 'new');
  site.credentials.refused(second);
  assert.is(await site.credentials.current(), second);
});

test('a file that is being replaced takes nothing away', async (site) => {
  writeConfig(site, { token: 'good' });
  await site.credentials.current();
  writeFileSync(join(site.directory, 'config'), '{');
  await site.clock.advance(60_000);
  assert.is(await tokenOf(site), 'good');
});

test('what could not be read is tried again with back-off', async (site) => {
  for (let round = 0; round < 3; round++) await rejectsWithCode(() => tokenOf(site), 'ERR_KMS_STORE_UNAVAILABLE');
  writeConfig(site, { token: 'good' });
  await rejectsWithCode(() => tokenOf(site), 'ERR_KMS_STORE_UNAVAILABLE');
  await site.clock.advance(1_250);
  assert.is(await tokenOf(site), 'good');
});

test('a plugin runs once for all callers, and again when what it gave expires', async (site) => {
  writeConfig(site, writePlugin(site, 300_000));
  assert.equal(await Promise.all([1, 2, 3].map(() => tokenOf(site))), ['token-1', 'token-1', 'token-1']);
  await site.clock.advance(299_000);
  assert.is(await tokenOf(site), 'token-1');
  await site.clock.advance(1_000);
  assert.is(await tokenOf(site), 'token-2');
});

test('without a time, what a plugin gave lasts until it is refused', async (site) => {
  writeConfig(site, writePlugin(site));
  await site.credentials.current();
  await site.clock.advance(3_600_000);
  const credentials = await site.credentials.current();
  assert.is(credentials.token, 'token-1');
  await site.clock.advance(1_000);
  site.credentials.refused(credentials);
  assert.is(await tokenOf(site), 'token-2');
});

test('what has expired already lasts a second: a clock that is wrong does not run a plugin for each request', async (site) => {
  writeConfig(site, writePlugin(site, -3_600_000));
  for (let call = 0; call < 3; call++) assert.is(await tokenOf(site), 'token-1');
});

test('the address of a server is followed without another run of the plugin', async (site) => {
  const user = writePlugin(site);
  writeConfig(site, user);
  const first = await site.credentials.current();
  writeConfig(site, user, { server: 'https://10.0.0.2:6443' });
  await site.clock.advance(1_000);
  site.credentials.unreachable(first);
  const second = await site.credentials.current();
  assert.is(second.server.href, 'https://10.0.0.2:6443/');
  assert.is.not(second.connectionId, first.connectionId);
  assert.is(runsOf(site), 1);
});

test('a plugin that was changed in the kubeconfig runs', async (site) => {
  const user = writePlugin(site) as { exec: object };
  writeConfig(site, user);
  await site.credentials.current();
  writeConfig(site, { exec: { ...user.exec, args: ['--other'] } });
  await site.clock.advance(60_000);
  assert.is(await tokenOf(site), 'token-2');
});

test('a plugin that fails is run again, later each time, and works once it is repaired', async (site) => {
  writeConfig(site, writePlugin(site));
  appendFileSync(join(site.directory, 'broken'), '');
  for (let call = 0; call < 3; call++) await rejectsWithCode(() => tokenOf(site), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(runsOf(site), 1);
  await site.clock.advance(1_250);
  await rejectsWithCode(() => tokenOf(site), 'ERR_KMS_STORE_UNAVAILABLE');
  rmSync(join(site.directory, 'broken'));
  await site.clock.advance(2_500);
  assert.is(await tokenOf(site), 'token-3');
});

test('what has expired is not used when the plugin fails', async (site) => {
  writeConfig(site, writePlugin(site, 30_000));
  await site.credentials.current();
  appendFileSync(join(site.directory, 'broken'), '');
  await site.clock.advance(30_000);
  await rejectsWithCode(() => tokenOf(site), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('a plugin does not get our own secrets', async (site) => {
  process.env['TEAPOT_TEST_PIN'] = '4711';
  process.env['TEAPOT_TEST_OTHER'] = 'other';
  site.shared.secretVariables.add('TEAPOT_TEST_PIN');
  writeConfig(site, writePlugin(site));
  await site.credentials.current();
  const environment = readFileSync(join(site.directory, 'environment'), 'utf8');
  assert.match(environment, 'TEAPOT_TEST_OTHER=other');
  assert.not.match(environment, 'TEAPOT_TEST_PIN');
});

for (const [field, cluster] of [
  ['server', { server: 'https://10.0.0.2' }],
  ['certificate-authority-data', { 'certificate-authority-data': 'Q0E=' }],
  ['tls-server-name', { 'tls-server-name': 'api.example' }],
  ['proxy-url', { 'proxy-url': 'http://10.0.0.3:3128' }],
] as const) {
  test(`another ${field} takes another connection`, async (site) => {
    writeConfig(site, { token: 'x' });
    const first = await site.credentials.current();
    writeConfig(site, { token: 'x' }, cluster);
    await site.clock.advance(60_000);
    assert.is.not((await site.credentials.current()).connectionId, first.connectionId);
  });
}

test('the description says where changes go', async (site) => {
  writeConfig(site, { token: 'x' });
  const { description } = await site.credentials.current();
  assert.is(description, `https://10.0.0.1:6443, context "x" of ${join(site.directory, 'config')}`);
});

test.run();
