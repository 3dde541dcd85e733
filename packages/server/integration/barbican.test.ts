import { formatManifest, parseManifest } from '@teapot-kms/core/internal';
/** The plugin's log at level debug, and the output of its commands, while a real Barbican has many kinds of trouble. */
import { launcher, patient, skipWithoutOpenStack, TestCloud } from '@teapot-kms/testing/daemons';
import { assertNoSecret, rememberSecret } from '@teapot-kms/testing';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { eventually, TestSite, withClient } from './support/running-plugin.ts';

skipWithoutOpenStack();
const cloud = await TestCloud.start({ tokenCache: 1 });
const site = new TestSite();
test.after(async () => {
  await site.remove();
  await cloud.stop();
});

const { application_credential: credential, passwords } = cloud.openStack.state;
const wrongPassword = randomBytes(16).toString('hex');
const cloudConfig = site.path('cloud.conf');
const cloudsFile = site.path('clouds.yaml');
const keysOf: Record<string, object> = {
  password: { cloudConfig },
  credential: { cloud: { name: 'mine', file: cloudsFile } },
};
const names = Object.keys(keysOf);
const manifestOf = (name: string) => site.path('keys', name, 'keyset.yaml');
let printed = '';

/** Not in this thread: the services are behind proxies of this process. */
async function teapot(...args: string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(launcher(), args, (_error, stdout, stderr) => {
      printed += stdout + stderr;
      resolve(stdout);
    });
  });
}

test('no password, token, key or plaintext in the log at level debug, nor in what commands print', async () => {
  const auth = { auth_url: cloud.keystone.url, application_credential_id: credential.id };
  // JSON is YAML.
  writeFileSync(cloudsFile, JSON.stringify({ clouds: { mine: { auth } } }));
  const secure = { clouds: { mine: { auth: { application_credential_secret: credential.secret } } } };
  writeFileSync(site.path('secure.yaml'), JSON.stringify(secure), { mode: 0o600 });
  cloud.writeCloudConf(cloudConfig, cloud.password('kms'));
  const text = Buffer.from(randomBytes(32).toString('base64'));
  const asText = await cloud.client.create('as-text', text, patient().signal);
  const instances = names.map((name) => {
    const uri = `barbican:${site.path('keys', name)}`;
    const keys = { uri, endpoint: cloud.barbican.url, legacyKeys: [asText], ...keysOf[name] };
    const lines = [`name: ${name}`, `socket: ${site.socket(name)}`, `keys: ${JSON.stringify(keys)}`];
    return `  - ${[...lines, 'probeInterval: 200ms'].join('\n    ')}\n`;
  });
  site.writeConfig(instances);
  for (const name of names) {
    await teapot('keys', 'generate', '--config', site.configFile, '--instance', name, '--create-parents');
  }
  const plugin = await site.serve();
  const sealed: Buffer[] = [];
  for (const name of names) {
    await withClient(site.socket(name), async (client) => {
      const plaintext = randomBytes(32);
      sealed.push(plaintext);
      rememberSecret(plaintext);
      const { keyId, ciphertext } = await eventually(() => client.encrypt(plaintext, 'uid'));
      assert.equal(await client.decrypt(ciphertext, keyId, 'uid'), plaintext);
      ciphertext[ciphertext.length - 1]! ^= 1;
      await client.decrypt(ciphertext, keyId, 'damaged').catch(() => undefined);
    });
  }

  cloud.barbican.fault = () => ({ status: 401, body: 'no' });
  await plugin.logged('refuses a token');
  cloud.barbican.fault = ({ headers }) => ({ status: 500, body: `refused: ${String(headers['x-auth-token'])}` });
  await plugin.logged('Barbican answered 500: refused');
  cloud.barbican.fault = () => 'reset';
  await plugin.logged('closed without an answer');
  cloud.barbican.fault = () => undefined;
  cloud.writeCloudConf(cloudConfig, { ...cloud.password('kms'), password: wrongPassword });
  await plugin.logged('does not let user kms in');
  await teapot('doctor', '--config', site.configFile);
  writeFileSync(cloudConfig, `[Global]\npassword="${passwords.kms}\n`);
  await plugin.logged('cloud.conf:2: a quote that is not closed');
  await teapot('keys', 'list', '--config', site.configFile, '--instance', 'password');
  await teapot('keys', 'generate', '--config', site.configFile, '--instance', 'password');
  cloud.writeCloudConf(cloudConfig, cloud.password('kms'));

  const keys: Buffer[] = [];
  for (const name of names) {
    const secret = /secret: (\S+)/.exec(readFileSync(manifestOf(name), 'utf8'))![1]!;
    keys.push((await cloud.client.payload(secret, patient().signal)).expose());
  }
  const manifest = parseManifest(readFileSync(manifestOf('credential'), 'utf8'), 'the manifest');
  const changed = manifest.keys.map((key) => ({ ...key, secret: asText }));
  const next = { ...manifest, generation: manifest.generation + 1, replaces: manifest.hash, keys: changed };
  writeFileSync(manifestOf('credential'), formatManifest(next));
  await plugin.logged('it is probably base64');
  await teapot('doctor', '--config', site.configFile);
  await teapot('status', '--config', site.configFile, '--instance', 'credential');
  assert.is(await plugin.kill('SIGTERM'), 0);

  assert.match(plugin.log, '"level":"debug"');
  assert.match(printed, 'a test secret was made, read and removed');
  assert.match(printed, `legacy key ${asText}: expected 16, 24 or 32 bytes, found 44`);
  assert.ok(cloud.tokens.length > 3);
  const words = [...cloud.tokens, ...Object.values(passwords), credential.secret, wrongPassword].map((word) =>
    Buffer.from(word),
  );
  for (const secret of [...words, ...keys, ...sealed, text]) {
    assertNoSecret(plugin.log, secret, 'the log');
    assertNoSecret(printed, secret, 'what commands print');
  }
  console.log(
    `\nFIGURE searched ${plugin.log.length + printed.length} characters for ${words.length + keys.length + sealed.length} secrets`,
  );
});

test.run();
