import { freePort, Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import { figure, timed, until } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsClient } from '../src/client/client.ts';
import { grpcCode, seed } from './support/calls.ts';
import { eventually, teapot, withClient } from './support/running-plugin.ts';
import type { RunningPlugin } from './support/running-plugin.ts';
import { childrenOf, lives, TokenSite } from './support/token-site.ts';

/** Of a call that hangs, many times the grace of a stop. */
const CALL_TIMEOUT_S = 60;

const test = suite<{ site: TokenSite }>('a key in a PKCS#11 token');
test.before.each(async (context) => {
  context.site = await TokenSite.create();
});
test.after.each(async ({ site }) => site.remove());

test('a pkcs11 instance works beside a file instance, and its counters are metrics', async ({ site }) => {
  const port = await freePort();
  site.generate('main');
  site.writeConfig([site.instance('main'), site.tokenInstance('hsm')], `http: { port: ${port} }\n`);
  const id = site.generateInToken();
  const plugin = await site.serve([], 'the key store answers');
  for (const name of ['main', 'hsm']) {
    await withClient(site.socket(name), async (client) => {
      const plaintext = seed();
      const { ciphertext, keyId } = await client.encrypt(plaintext, 'uid');
      assert.is(keyId === id, name === 'hsm');
      assert.equal(await client.decrypt(ciphertext, keyId, 'uid'), plaintext);
      assert.is((await client.status()).healthz, 'ok');
    });
  }
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const events = [
    ...['wraps', 'unwraps', 'cache_hits', 'coalesced_unwraps', 'cache_evictions'],
    ...['token_logins', 'token_host_starts', 'token_host_calls', 'token_sessions_opened'],
  ];
  for (const event of events) {
    const line = `teapot_kms_store_events_total{instance="hsm",event="${event}"} `;
    assert.match(metrics, line);
  }
  assert.match(metrics, 'teapot_kms_store_events_total{instance="hsm",event="token_logins"} 1\n');
  assert.match(metrics, /^teapot_kms_cached_local_keks\{instance="hsm"\} [1-9]/m);
  assert.not.match(metrics, 'teapot_kms_cached_local_keks{instance="main"}');
  assert.is(childrenOf(plugin).length, 1);
});

test('a wrong PIN is tried once, shows in status, and does not disturb the file instance', async ({ site }) => {
  const fileKey = site.generate('main');
  site.writeConfig([site.tokenInstance('hsm')]);
  site.generateInToken();
  site.shim.resetCounters();
  const uri = site.uri({ pinFile: site.wrongPinFile() });
  site.writeConfig([site.instance('main'), site.tokenInstance('hsm', { uri }), site.tokenInstance('hsm-too', { uri })]);
  const plugin = await site.serve([], 'refused the PIN');
  const { code, stdout } = teapot('status', '--config', site.configFile, '--instance', 'hsm');
  assert.is(code, 3);
  assert.match(stdout, 'refused the PIN');
  await withClient(site.socket('hsm'), async (client) => assert.is(await grpcCode(client.encrypt(seed(), 'uid')), 14));
  await withClient(site.socket('main'), async (client) => {
    assert.equal(await client.status(), { version: 'v2', healthz: 'ok', keyId: fileKey });
  });
  await plugin.kill('SIGTERM');
  await site.serve([], 'refused the PIN');
  assert.is(site.shim.calls('C_Login'), 1);
});

test('SIGTERM while a token call hangs: exit 0 long before the call ends, and no token host is left', async ({
  site,
}) => {
  const plugin = await hangInDecrypt(site);
  const hosts = childrenOf(plugin);
  assert.is(hosts.length, 1);
  let code: number | null = null;
  const seconds = await timed(async () => (code = await plugin.kill('SIGTERM')));
  assert.is(code, 0, plugin.log);
  assert.ok(seconds < CALL_TIMEOUT_S / 2, `${seconds} s`);
  figure('seconds from SIGTERM to the exit while a token call hangs', seconds.toFixed(1));
  assert.equal(hosts.filter(lives), []);
});

for (const what of ['idle', 'hanging'] as const) {
  test(`a plugin killed with SIGKILL leaves no ${what} token host behind`, async ({ site }) => {
    const plugin = what === 'hanging' ? await hangInDecrypt(site) : await serveWithKey(site);
    const hosts = childrenOf(plugin);
    assert.is(hosts.length, 1);
    await plugin.kill('SIGKILL');
    await eventually(() => assert.equal(hosts.filter(lives), []));
  });
}

test('10,000 Decrypts over 500 wrapped keys, cold, through the socket: 500 token calls', async ({ site }) => {
  const keys = { sessions: 8, callTimeout: '30s', mechanism: 'aes-gcm' };
  // A key of its own for each Encrypt.
  const direct = await serveWithKey(site, { ...keys, direct: true });
  const plaintext = seed();
  const wrapped = await withClient(site.socket('hsm'), (client) =>
    Promise.all(Array.from({ length: 500 }, () => client.encrypt(plaintext, 'uid'))),
  );
  await direct.kill('SIGTERM');
  site.writeConfig([site.tokenInstance('hsm', { keys })]);
  await site.serve([], 'the key store answers');
  site.shim.orders('latency C_Decrypt 5');
  site.shim.resetCounters();
  const clients = Array.from({ length: 8 }, () => new KmsClient(site.socket('hsm'), 60_000));
  const calls = Array.from({ length: 10_000 }, (_, index) => wrapped[index % wrapped.length]!).values();
  let right = 0;
  // So many at a time that all distinct ones are waited for at once, and fewer than an instance takes.
  const work = async (client: KmsClient): Promise<void> => {
    for (const { ciphertext, keyId } of calls) {
      const opened = await client.decrypt(ciphertext, keyId, 'uid');
      right += Number(opened.equals(plaintext));
    }
  };
  const seconds = await timed(() =>
    Promise.all(Array.from({ length: 800 }, (_, index) => work(clients[index % clients.length]!))),
  );
  for (const client of clients) client.close();
  figure(
    'seconds for 10,000 Decrypts (800 at a time) over 500 wrapped keys through the socket, cold, 8 sessions, 5 ms a token call',
    seconds.toFixed(2),
  );
  assert.is(right, 10_000);
  assert.is(site.shim.calls('C_Decrypt'), 500);
});

async function serveWithKey(site: TokenSite, keys: Readonly<Record<string, unknown>> = {}): Promise<RunningPlugin> {
  site.writeConfig([site.tokenInstance('hsm', { keys })]);
  site.generateInToken();
  return site.serve([], 'the key store answers');
}

/** A plugin with a Decrypt under way that the token never answers. */
async function hangInDecrypt(site: TokenSite): Promise<RunningPlugin> {
  const keys = { callTimeout: `${CALL_TIMEOUT_S}s` };
  const first = await serveWithKey(site, keys);
  const { ciphertext, keyId } = await withClient(site.socket('hsm'), (client) => client.encrypt(seed(), 'uid'));
  // Its successor has to ask the token for what this one has in its cache.
  await first.kill('SIGTERM');
  const plugin = await site.serve([], 'the key store answers');
  site.shim.orders('hang C_Decrypt');
  const client = new KmsClient(site.socket('hsm'), 60_000);
  client.decrypt(ciphertext, keyId, 'uid').then(
    () => assert.unreachable('the token did not hang'),
    () => client.close(),
  );
  await until('the token call hangs', () => site.shim.fired('hang C_Decrypt') > 0, { everyMs: 20 });
  return plugin;
}

const missing = SoftHsm.missing() ?? Shim.missing();
if (missing !== undefined) console.log(`SKIPPED a plugin with a key in SoftHSM2: ${missing}`);
else test.run();
