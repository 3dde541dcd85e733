import { existsSync, mkdirSync, rmdirSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { freePort } from '@teapot-kms/testing/daemons';
import { KmsClient } from '../src/client/client.ts';
import { seed } from './support/calls.ts';
import { eventually, TestSite, withClient } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('hand-over');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(async ({ site }) => site.remove());

test('SIGTERM lets calls finish, exits 0 and removes the socket', async ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main')]);
  const plugin = await site.serve();
  await withClient(site.socket('main'), async (client) => {
    const calls = Array.from({ length: 300 }, () => client.encrypt(seed(), 'uid'));
    await calls[0];
    const exitCode = plugin.kill('SIGTERM');
    const results = await Promise.allSettled(calls);
    assert.is(results.filter(({ status }) => status === 'rejected').length, 0);
    assert.is(await exitCode, 0);
  });
  assert.not.ok(existsSync(site.socket('main')));
});

test('a stale socket of a killed plugin is replaced', async ({ site }) => {
  const id = site.generate('main');
  site.writeConfig([site.instance('main')]);
  await (await site.serve()).kill('SIGKILL');
  assert.ok(existsSync(site.socket('main')));
  await site.serve();
  await withClient(site.socket('main'), async (client) => assert.is((await client.status()).keyId, id));
});

test('a second plugin on the same socket refuses to start', async ({ site }) => {
  const id = site.generate('main');
  site.writeConfig([site.instance('main')]);
  await site.serve();
  const second = await site.serve([], 'ERR_SOCKET_IN_USE');
  assert.is(await second.exited, 1);
  await withClient(site.socket('main'), async (client) => assert.is((await client.status()).keyId, id));
});

test('with --take-over it replaces the first, whose end leaves the successor alone', async ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main')]);
  const first = await site.serve();
  const socket = site.socket('main');
  const before = new KmsClient(socket, 60_000);
  const plaintext = seed();
  const { ciphertext, keyId } = await before.encrypt(plaintext, 'uid');
  const second = await site.serve(['--take-over']);
  // The old connection is still served, a new one goes to the successor, and there is no gap between.
  assert.equal(await before.decrypt(ciphertext, keyId, 'uid'), plaintext);
  await withClient(socket, async (client) => assert.is((await client.describe())['pid'], second.process.pid));
  assert.is(await first.kill('SIGTERM'), 0);
  await withClient(socket, async (client) => assert.equal(await client.decrypt(ciphertext, keyId, 'uid'), plaintext));
  // A client of the first process reconnects to the second.
  assert.is((await before.describe())['pid'], second.process.pid);
  before.close();
});

test('a successor without a key leaves the socket to the first, and its end changes nothing', async ({ site }) => {
  const id = site.generate('main');
  site.writeConfig([site.instance('main')]);
  const first = await site.serve();
  const other = site.generate('other');
  const instance = site.instance('main').replace(site.keys('main'), site.keys('missing'));
  site.writeConfig([instance, site.instance('other')]);
  const second = await site.serve(['--take-over'], 'waiting for a key before taking over the socket');
  await eventually(() =>
    withClient(site.socket('other'), async (client) => assert.is((await client.status()).keyId, other)),
  );
  assert.is(await second.kill('SIGTERM'), 0);
  await withClient(site.socket('main'), async (client) => {
    assert.is((await client.describe())['pid'], first.process.pid);
    assert.is((await client.status()).keyId, id);
  });
});

test('a port that is taken does not keep the plugin from serving', async ({ site }) => {
  site.generate('main');
  const port = await freePort();
  site.writeConfig([site.instance('main')], `http: { port: ${port} }\n`);
  const first = await site.serve();
  await eventually(() => fetch(`http://127.0.0.1:${port}/livez`));
  const second = await site.serve(['--take-over']);
  await second.logged('EADDRINUSE');
  await withClient(site.socket('main'), async (client) => assert.is((await client.status()).healthz, 'ok'));
  await first.kill('SIGTERM');
});

test('a socket that somebody removes is open again, and /readyz says what a client would see', async ({ site }) => {
  const id = site.generate('main');
  const port = await freePort();
  site.writeConfig([site.instance('main')], `http: { port: ${port} }\n`);
  const plugin = await site.serve();
  const ready = async () => (await fetch(`http://127.0.0.1:${port}/readyz?verbose`)).text();
  await eventually(async () => assert.is(await ready(), '[+]main ok\n'));
  rmSync(site.socket('main'));
  mkdirSync(site.socket('main'));
  await eventually(async () => assert.match(await ready(), /^\[-\]main failed: .*a directory is in the place/));
  assert.match(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text(), /socket_up\{instance="main"\} 0/);
  rmdirSync(site.socket('main'));
  await eventually(async () => assert.is(await ready(), '[+]main ok\n'));
  await withClient(site.socket('main'), async (client) => assert.is((await client.status()).keyId, id));
  await plugin.logged('the socket was removed or replaced');
});

test('with --take-over, the first does not take the socket back from a successor that lives', async ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main')]);
  const first = await site.serve();
  const second = await site.serve(['--take-over']);
  await first.logged('another process serves this socket');
  await withClient(site.socket('main'), async (client) => {
    assert.is((await client.describe())['pid'], second.process.pid);
  });
  await second.kill('SIGKILL');
  await eventually(() =>
    withClient(site.socket('main'), async (client) => {
      assert.is((await client.describe())['pid'], first.process.pid);
    }),
  );
});

test('SIGTERM ends the plugin although a client stays connected', async ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main')]);
  const plugin = await site.serve();
  const client = new KmsClient(site.socket('main'), 60_000);
  await client.status();
  assert.is(await Promise.race([plugin.kill('SIGTERM'), sleep(60_000, 'still running', { ref: false })]), 0);
  client.close();
});

test.run();
