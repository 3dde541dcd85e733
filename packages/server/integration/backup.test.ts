// `keys export` and `keys import` as an operator runs them, beside a running plugin.
import { formatManifest } from '@teapot-kms/core/internal';
import { version1Manifest } from '@teapot-kms/testing';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { eventually, teapot, TestSite, withClient } from './support/running-plugin.ts';
import type { CliResult } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('backups');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(({ site }) => site.remove());

const seed = randomBytes(32);
const identity = await generateIdentity();
const recipient = await identityToRecipient(identity);

/** Writes what opens a backup. */
function openers(site: TestSite): { identityFile: string; passphraseFile: string } {
  const [identityFile, passphraseFile] = [site.path('identity'), site.path('passphrase')];
  writeFileSync(identityFile, `# created: today\n${identity}\n`, { mode: 0o600 });
  writeFileSync(passphraseFile, 'correct horse battery staple\n', { mode: 0o600 });
  return { identityFile, passphraseFile };
}

const exportTo = (site: TestSite, file: string, ...args: string[]): CliResult =>
  teapot('keys', 'export', '--uri', site.keys('main'), '--out', site.path(file), ...args);

const importFrom = (site: TestSite, file: string, ...args: string[]): CliResult =>
  teapot('keys', 'import', site.path(file), '--uri', site.keys('main'), ...args);

test('a running plugin takes what an import brings back, and what it encrypted opens', async ({ site }) => {
  const { identityFile } = openers(site);
  const keyId = site.generate('main');
  site.writeConfig([site.instance('main')]);
  await site.serve([], 'key loaded');
  const sealed = await withClient(site.socket('main'), (client) => client.encrypt(seed, 'before'));
  assert.is(exportTo(site, 'main.age', '--recipient', recipient).code, 0);
  await site.stopAll();
  rmSync(site.path('keys/main'), { recursive: true });
  await site.serve();
  const { code, stdout, stderr } = importFrom(site, 'main.age', '--identity', identityFile);
  assert.is(code, 0, stderr);
  assert.match(stdout, `restored ${keyId}`);
  await eventually(() =>
    withClient(site.socket('main'), async (client) => {
      assert.equal(await client.decrypt(sealed.ciphertext, sealed.keyId, 'after'), seed);
      assert.is((await client.status()).keyId, keyId);
    }),
  );
});

test('a passphrase opens a backup, which has mode 0600, shows no key, and never replaces another one', ({ site }) => {
  const { passphraseFile } = openers(site);
  const keyId = site.generate('main');
  assert.is(exportTo(site, 'main.age', '--passphrase-file', passphraseFile).code, 0);
  assert.is(statSync(site.path('main.age')).mode & 0o777, 0o600);
  const bytes = readFileSync(site.path('main.age'));
  assert.is(bytes.indexOf(readFileSync(site.path('keys/main', `${keyId}.key`))), -1);
  const again = exportTo(site, 'main.age', '--recipient', recipient);
  assert.is(again.code, 2);
  assert.match(again.stderr, 'exists already');
  assert.equal(readFileSync(site.path('main.age')), bytes);
  rmSync(site.path('keys/main', `${keyId}.key`));
  assert.is(importFrom(site, 'main.age', '--passphrase-file', passphraseFile).code, 0);
});

test('a dry run names what would come back, and writes nothing', ({ site }) => {
  const { identityFile } = openers(site);
  const keyId = site.generate('main');
  exportTo(site, 'main.age', '--recipient', recipient);
  rmSync(site.path('keys/main', `${keyId}.key`));
  const how = ['--identity', identityFile, '--output', 'json'];
  const { stdout } = importFrom(site, 'main.age', '--dry-run', ...how);
  assert.equal((JSON.parse(stdout) as { restored: string[] }).restored, [keyId]);
  assert.equal(readdirSync(site.path('keys/main')), ['keyset.yaml']);
  const made = JSON.parse(importFrom(site, 'main.age', ...how).stdout) as { restored: string[]; verified: string[] };
  assert.equal([made.restored, made.verified], [[keyId], [keyId]]);
});

test('a key of version 1 that has other bytes here is named and stays, the others come back, and the exit code is 1', ({
  site,
}) => {
  const { identityFile } = openers(site);
  const ids = ['key-0', 'key-1'];
  const manifest = { ...version1Manifest('key-0'), keys: ids.flatMap((id) => version1Manifest(id).keys) };
  mkdirSync(site.path('keys/main'), { recursive: true, mode: 0o700 });
  writeFileSync(site.path('keys/main/keyset.yaml'), formatManifest(manifest), { mode: 0o600 });
  const keys = ids.map((id) => site.path('keys/main', `${id}.key`));
  for (const key of keys) writeFileSync(key, randomBytes(32), { mode: 0o600 });
  assert.is(exportTo(site, 'main.age', '--recipient', recipient).code, 0);
  const other = randomBytes(32);
  writeFileSync(keys[0]!, other);
  rmSync(keys[1]!);
  const { code, stdout, stderr } = importFrom(site, 'main.age', '--identity', identityFile);
  assert.is(code, 1);
  assert.match(stdout, `restored ${ids[1]!}`);
  assert.match(
    stderr,
    `key ${ids[0]!} has other bytes here than in the backup, and stays as it is (ERR_KMS_KEYSET_CONFLICT)`,
  );
  assert.match(stderr, 'Fix: import the backup at a place of its own');
  assert.equal(readFileSync(keys[0]!), other);
});

test('what does not open is refused with what to do, and nothing is written', ({ site }) => {
  const { identityFile, passphraseFile } = openers(site);
  site.generate('main');
  exportTo(site, 'main.age', '--recipient', recipient);
  rmSync(site.path('keys/main'), { recursive: true });
  const { code, stderr } = importFrom(site, 'main.age', '--passphrase-file', passphraseFile);
  assert.is(code, 1);
  assert.match(stderr, /ERR_KMS_KEYSET_INVALID.*\n.*Fix: use the identity or the passphrase/);
  assert.throws(() => statSync(site.path('keys/main')));
  assert.is(importFrom(site, 'main.age', '--identity', identityFile).code, 0);
});

test('an export without anybody who can open it is refused', ({ site }) => {
  site.generate('main');
  const { code, stderr } = exportTo(site, 'main.age');
  assert.is(code, 2);
  assert.match(stderr, '--recipient');
  assert.throws(() => statSync(site.path('main.age')));
});

test('a mistyped path becomes no keyset', ({ site }) => {
  const { identityFile } = openers(site);
  site.generate('main');
  exportTo(site, 'main.age', '--recipient', recipient);
  const uri = `file:${site.path('mistyped/main')}`;
  const how = ['--identity', identityFile];
  const { code, stderr } = teapot('keys', 'import', site.path('main.age'), '--uri', uri, ...how);
  assert.is(code, 2);
  assert.match(stderr, '--create-parents');
  assert.is(teapot('keys', 'import', site.path('main.age'), '--uri', uri, '--create-parents', ...how).code, 0);
});

test('a key store that gives its keys out has no use for escrow', ({ site }) => {
  site.generate('main');
  const uri = site.keys('main');
  const { code, stderr } = teapot(
    'keys',
    'generate',
    '--uri',
    uri,
    '--escrow-to',
    recipient,
    '--escrow-file',
    site.path('x'),
  );
  assert.is(code, 2);
  assert.match(stderr, 'keys export');
});

test.run();
