import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsClient } from '../src/client/client.ts';
import { eventually, teapot, TestSite, withClient } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('configuration');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(async ({ site }) => site.remove());

/** An HTTP/2 connection as a kube-apiserver holds it, and what has happened to it. */
async function heldSession(socket: string): Promise<{ ended: () => string[]; destroy: () => void }> {
  const session = connectHttp2('http://localhost', { createConnection: () => connect(socket) });
  const ended: string[] = [];
  for (const event of ['goaway', 'close', 'error'] as const) session.on(event, () => ended.push(event));
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  return { ended: () => ended, destroy: () => session.destroy() };
}

test('socket mode and group are as configured', async ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main', 'socketMode: "0660"', 'socketGroup: 12345')]);
  await site.serve();
  const { mode, gid } = statSync(site.socket('main'));
  assert.equal([mode & 0o777, gid], [0o660, 12345]);
});

test('a changed configuration adds, changes and removes instances without touching others', async ({ site }) => {
  for (const name of ['a', 'b', 'c']) site.generate(name);
  site.writeConfig([site.instance('a'), site.instance('b')]);
  const plugin = await site.serve();
  const untouched = new KmsClient(site.socket('a'), 60_000);
  const before = await untouched.status();
  // The client would reconnect silently; this session records its end.
  const session = await heldSession(site.socket('a'));
  site.writeConfig([site.instance('a'), site.instance('b', 'kmsV2Version: v2beta1'), site.instance('c')]);
  await plugin.logged('configuration taken');
  await withClient(site.socket('b'), async (client) => assert.is((await client.status()).version, 'v2beta1'));
  await withClient(site.socket('c'), async (client) => assert.is((await client.status()).healthz, 'ok'));
  site.writeConfig([site.instance('a'), site.instance('c')]);
  await eventually(() => assert.not.ok(existsSync(site.socket('b'))));
  assert.equal(await untouched.status(), before);
  assert.is(plugin.log.match(/"instance":"a".*"listening"/g)?.length, 1);
  assert.equal(session.ended(), []);
  session.destroy();
  untouched.close();
});

test('an instance that is only renamed hands its socket over', async ({ site }) => {
  site.generate('a');
  site.writeConfig([site.instance('a')]);
  const plugin = await site.serve();
  site.writeConfig([site.instance('a').replace('name: a', 'name: z')]);
  await plugin.logged('configuration taken');
  await withClient(site.socket('a'), async (client) => assert.is((await client.describe())['instance'], 'z'));
});

for (const { what, uri } of [
  { what: 'renamed', uri: 'keys/a' },
  { what: 'renamed, and gets another keyset that is not there', uri: 'keys/none' },
]) {
  test(`an instance that is ${what} while its store is away keeps its keys until the new one is ready`, async ({
    site,
  }) => {
    site.generate('a');
    site.writeConfig([site.instance('a')]);
    const plugin = await site.serve([], 'key loaded');
    const sealed = await withClient(site.socket('a'), (client) => client.encrypt(randomBytes(32), 'before'));
    const opens = async (name: string): Promise<void> =>
      withClient(site.socket('a'), async (client) => {
        await client.decrypt(sealed.ciphertext, sealed.keyId, 'after');
        assert.is((await client.describe())['instance'], name);
      });
    renameSync(site.path('keys/a'), site.path('keys/a.away'));
    site.writeConfig([site.instance('a').replace('name: a', 'name: z').replace(site.path('keys/a'), site.path(uri))]);
    await plugin.logged('the change is not used yet; the keys in use stay');
    await plugin.logged('configuration taken');
    await opens('a');
    const { code, stdout } = teapot('status', '--socket', site.socket('a'));
    assert.is(code, 3, stdout);
    assert.match(stdout, 'the changed configuration of this instance is not in use');
    renameSync(site.path('keys/a.away'), site.path(uri));
    // Any change of the file is taken at once; without one, the plugin tries again after 30 s.
    writeFileSync(site.configFile, `${readFileSync(site.configFile, 'utf8')}# again\n`);
    await eventually(() => opens('z'));
  });
}

test('two instances that exchange their sockets both keep their keys while one store is away', async ({ site }) => {
  const sealed = new Map<string, { ciphertext: Buffer; keyId: string }>();
  for (const name of ['a', 'b']) site.generate(name);
  site.writeConfig([site.instance('a'), site.instance('b')]);
  const plugin = await site.serve();
  for (const name of ['a', 'b']) {
    const made = await eventually(() =>
      withClient(site.socket(name), (client) => client.encrypt(randomBytes(32), 'before')),
    );
    sealed.set(name, made);
  }
  const opens = (name: string, at: string): Promise<Buffer> => {
    const { ciphertext, keyId } = sealed.get(name)!;
    return withClient(site.socket(at), (client) => client.decrypt(ciphertext, keyId, 'after'));
  };
  const moved = (name: string, to: string) => site.instance(name).replace(site.socket(name), site.socket(to));
  renameSync(site.path('keys/b'), site.path('keys/b.away'));
  site.writeConfig([moved('a', 'b'), moved('b', 'a')]);
  await plugin.logged('configuration taken');
  for (const name of ['a', 'b']) await opens(name, name);
});

test('a changed configuration that is wrong is refused whole, and the old one goes on', async ({ site }) => {
  const id = site.generate('a');
  site.writeConfig([site.instance('a')]);
  const plugin = await site.serve();
  site.writeConfig([site.instance('b'), site.instance('a', 'colour: red')]);
  await plugin.logged('the changed configuration is refused');
  assert.match(plugin.log, 'instances[1].colour: unknown setting');
  assert.not.ok(existsSync(site.socket('b')));
  await withClient(site.socket('a'), async (client) => assert.is((await client.status()).keyId, id));
});

test('an instance whose socket cannot be opened leaves the others alone', async ({ site }) => {
  site.generate('good');
  writeFileSync(site.path('file'), '');
  const bad = site.instance('bad').replace(site.socket('bad'), site.path('file/kms.sock'));
  site.writeConfig([bad, site.instance('good')]);
  await site.serve();
  await withClient(site.socket('good'), async (client) => assert.is((await client.status()).healthz, 'ok'));
});

test.run();
