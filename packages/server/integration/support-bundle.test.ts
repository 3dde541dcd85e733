import { freePort } from '@teapot-kms/testing/daemons';
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { seed } from './support/calls.ts';
import { teapot, TestSite, withClient } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('support-bundle');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(async ({ site }) => site.remove());

const bundle = (site: TestSite, ...options: string[]) =>
  teapot('support-bundle', '--config', site.configFile, '--to', site.path('bundle.tar.gz'), ...options);
const unpack = (site: TestSite, ...names: string[]): string => {
  const paths = names.map((name) => `teapot-kms-support/${name}`);
  return execFileSync('tar', ['-xzOf', site.path('bundle.tar.gz'), ...paths], { encoding: 'utf8' });
};
/** A secret as a file, a log or a report may show it. */
const formsOf = (secret: Buffer): string[] => {
  const base64 = secret.toString('base64').replace(/=+$/, '');
  return [
    secret.toString('latin1'),
    secret.toString('hex'),
    base64,
    secret.toString('base64url'),
    [...secret].join(','),
  ];
};

test('it has versions, configuration, doctor, status, metrics and log, and no key, plaintext, PIN or password', async ({
  site,
}) => {
  const [pin, password] = ['7319-pin-of-the-token', 'password-of-the-login'];
  site.generate('main');
  const log = site.path('plugin.log');
  const pinFile = site.path('pin');
  writeFileSync(pinFile, pin, { mode: 0o600 });
  const clouds = site.path('clouds.yaml');
  writeFileSync(
    clouds,
    `clouds: { mine: { auth: { auth_url: "http://127.0.0.1:1", username: u, password: ${password} } } }`,
    { mode: 0o600 },
  );
  const token = `  - name: token
    socket: ${site.socket('token')}
    keys:
      uri: "pkcs11:token=t;object=o?module-path=/missing.so&pin-source=file:${pinFile}"
      keyset: ${site.path('keys')}
`;
  const barbican = `  - name: barbican
    socket: ${site.socket('barbican')}
    keys: { uri: "barbican:name", cloud: { name: mine, file: ${clouds} } }
`;
  site.writeConfig([site.instance('main'), token, barbican], `http: { port: ${await freePort()} }\n`);
  const plugin = await site.serve();
  const plaintext = seed();
  await withClient(site.socket('main'), async (client) => {
    const { ciphertext, keyId } = await client.encrypt(plaintext, 'uid-1');
    await client.decrypt(ciphertext, keyId, 'uid-2');
    await plugin.logged('uid-2');
  });
  writeFileSync(log, plugin.log);
  const { code, stdout, stderr } = bundle(site, '--log', log);
  assert.equal([code, stderr], [0, '']);
  for (const name of ['versions.json', 'config.json', 'doctor.json', 'status.json', 'metrics.txt', 'log.txt'])
    assert.match(stdout, name);
  assert.match(unpack(site, 'metrics.txt'), 'teapot_kms_key_info{instance="main"');
  assert.match(unpack(site, 'log.txt'), '"uid":"uid-2"');
  assert.match(unpack(site, 'config.json'), '"name": "barbican"');
  const all = unpack(site);
  const keys = globSync(site.path('keys/main/*.key')).map((file) => readFileSync(file));
  assert.is(keys.length, 1);
  for (const secret of [...keys, plaintext, Buffer.from(pin), Buffer.from(password)])
    for (const form of formsOf(secret)) assert.not.ok(all.includes(form));
  assert.is(statSync(site.path('bundle.tar.gz')).mode & 0o777, 0o600);
});

test('a configuration that is refused is no hindrance, and its values are not shown', ({ site }) => {
  const secret = 'a-pin-in-the-wrong-place';
  site.writeConfig([site.instance('main', `unknown: ${secret}`)]);
  writeFileSync(site.path('log'), '');
  const { code, stderr } = bundle(site, '--log', site.path('log'));
  assert.equal([code, stderr], [0, '']);
  assert.match(unpack(site, 'config-problem.txt'), 'instances[0].unknown');
  assert.not.ok(unpack(site).includes(secret));
});

test('a file that is there is not replaced', ({ site }) => {
  site.writeConfig([site.instance('main')]);
  writeFileSync(site.path('log'), '');
  writeFileSync(site.path('bundle.tar.gz'), 'mine');
  assert.is(bundle(site, '--log', site.path('log')).code, 1);
  assert.is(readFileSync(site.path('bundle.tar.gz'), 'utf8'), 'mine');
});

test('what cannot be had is named', ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main')], 'http: { port: 1 }\n');
  writeFileSync(site.path('log'), '');
  const { code, stderr } = bundle(site, '--log', site.path('log'));
  assert.is(code, 0);
  assert.match(stderr, /^not in it: metrics\.txt: .*ECONNREFUSED/);
  assert.match(unpack(site, 'status.json'), '"error"');
});

test.run();
