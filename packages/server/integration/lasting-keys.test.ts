// Nothing that an operator does by mistake, and no advice of the plugin, loses a key (docs/spec/keyset-v2.md §6, design D14 and D15).
// Each test breaks something, follows the remedy that is printed, and opens what was encrypted before.
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { formatManifest } from '@teapot-kms/core/internal';
import { version1Manifest } from '@teapot-kms/testing';
import { launcher } from '@teapot-kms/testing/daemons';
import { eventually, teapot, TestSite, withClient } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('keys are never lost');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(({ site }) => site.remove());

const seed = randomBytes(32);

interface Sealed {
  readonly ciphertext: Buffer;
  readonly keyId: string;
}

const seal = (site: TestSite, name = 'main'): Promise<Sealed> =>
  withClient(site.socket(name), (client) => client.encrypt(seed, 'before'));

const opens = async (site: TestSite, { ciphertext, keyId }: Sealed, name = 'main'): Promise<void> =>
  withClient(site.socket(name), async (client) => {
    assert.equal(await client.decrypt(ciphertext, keyId, 'after'), seed);
  });

/** Starts the plugin with one key, and encrypts with it. */
async function served(site: TestSite): Promise<{ keyId: string; sealed: Sealed; directory: string }> {
  const keyId = site.generate('main');
  site.writeConfig([site.instance('main')]);
  await site.serve([], 'key loaded');
  return { keyId, sealed: await seal(site), directory: site.path('keys/main') };
}

const doctor = (site: TestSite): { code: number | null; stdout: string } =>
  teapot('doctor', '--config', site.configFile);

/** Waits until the plugin's warnings are so: that takes no process. */
const warnings = (site: TestSite, check: (text: string) => void): Promise<unknown> =>
  withClient(site.socket('main'), (client) =>
    eventually(async () => check(((await client.describe()) as { warnings: string[] }).warnings.join('\n'))),
  );

/** The status that shows this warning. `status` exits with 3 as long as there is one. */
async function warned(site: TestSite, text: RegExp): Promise<void> {
  await warnings(site, (shown) => assert.match(shown, text));
  const { code, stdout } = teapot('status', '--socket', site.socket('main'));
  assert.match(stdout, text);
  assert.is(code, 3);
}

async function fine(site: TestSite): Promise<void> {
  await warnings(site, (shown) => assert.is(shown, ''));
  await eventually(() => {
    const { code, stdout } = doctor(site);
    assert.is(code, 0, stdout);
  });
}

test('a directory that is gone: doctor never suggests a new keyset, and one that is made all the same is not taken', async ({
  site,
}) => {
  const { keyId, sealed, directory } = await served(site);
  renameSync(directory, `${directory}.unmounted`);
  await warned(site, /keyset.yaml: no such file/);
  const { code, stdout } = doctor(site);
  assert.is(code, 3);
  assert.not.match(stdout, 'keys generate');
  assert.match(
    stdout,
    `restore the keyset from another node (scp -rp NODE:${directory} ${directory}.copy && teapot-kms keys import ${directory}.copy `,
  );
  site.generate('main');
  await warned(site, /ERR_KMS_KEYSET_STALE: .*has another keyset/);
  assert.match(doctor(site).stdout, /has another keyset, [0-9a-f]{32}; the keys in memory are of keyset/);
  await opens(site, sealed);
  assert.is((await seal(site)).keyId, keyId, 'the key in memory seals');
  rmSync(directory, { recursive: true });
  renameSync(`${directory}.unmounted`, directory);
  await fine(site);
  await opens(site, sealed);
});

test('a directory that is gone, and the plugin restarted: doctor remembers that there was a keyset', async ({
  site,
}) => {
  const { sealed, directory } = await served(site);
  await site.stopAll();
  renameSync(directory, `${directory}.unmounted`);
  await site.serve();
  assert.not.match(doctor(site).stdout, 'keys generate');
  renameSync(`${directory}.unmounted`, directory);
  await eventually(() => opens(site, sealed));
});

test('an older keyset.yaml copied over the newer one is not taken, and no advice removes the newer key', async ({
  site,
}) => {
  const { keyId, sealed, directory } = await served(site);
  const older = readFileSync(`${directory}/keyset.yaml`);
  const next = site.generate('main');
  await eventually(() => site.promote('main', next));
  const newer = readFileSync(`${directory}/keyset.yaml`);
  const later = await eventually(async () => {
    const one = await seal(site);
    assert.is(one.keyId, next);
    return one;
  });
  writeFileSync(`${directory}/keyset.yaml`, older);
  await warned(site, /ERR_KMS_KEYSET_STALE: .*generation 1 .*older: .* generation 3/);
  const { code, stdout } = doctor(site);
  assert.is(code, 3);
  assert.not.match(stdout, /remove|delete|\brm /);
  assert.match(stdout, `keep ${directory}/${next}.key`);
  await opens(site, later);
  assert.is((await seal(site)).keyId, next, `key ${keyId} never seals again`);
  writeFileSync(`${directory}/keyset.yaml`, newer);
  await fine(site);
  for (const one of [sealed, later]) await opens(site, one);
});

test('after a restart over an older keyset.yaml, nothing is encrypted until somebody confirms it', async ({ site }) => {
  const { keyId, sealed, directory } = await served(site);
  const older = readFileSync(`${directory}/keyset.yaml`);
  const next = site.generate('main');
  await eventually(() => site.promote('main', next));
  await eventually(async () => assert.is((await seal(site)).keyId, next));
  await site.stopAll();
  writeFileSync(`${directory}/keyset.yaml`, older);
  await site.serve();
  await eventually(() => opens(site, sealed));
  await warned(site, /older: .* generation 3/);
  const { stdout } = teapot('status', '--config', site.configFile);
  assert.match(stdout, new RegExp(`^${keyId} +decrypt-only`, 'm'), 'status names no primary');
  assert.match(doctor(site).stdout, 'keys confirm');
  assert.is(teapot('keys', 'confirm', '--config', site.configFile).code, 0);
  await eventually(async () => assert.is((await seal(site)).keyId, keyId));
  await opens(site, sealed);
});

test('wrong bytes in a key file are reported at once, and the key in memory stays in use', async ({ site }) => {
  const { keyId, sealed, directory } = await served(site);
  const good = readFileSync(`${directory}/${keyId}.key`);
  writeFileSync(`${directory}/${keyId}.key`, randomBytes(32));
  await warned(site, new RegExp(`${keyId}: its bytes do not match the check value`));
  await opens(site, sealed);
  const { code, stdout } = doctor(site);
  assert.is(code, 3);
  assert.match(
    stdout,
    `restore the keys from another node (scp -rp NODE:${directory} ${directory}.copy && teapot-kms keys import ${directory}.copy `,
  );
  writeFileSync(`${directory}/${keyId}.key`, good);
  await fine(site);
  await opens(site, sealed);
});

test('another URI in a live configuration is held back, and doctor says why', async ({ site }) => {
  const { keyId, sealed } = await served(site);
  site.generate('other');
  const config = readFileSync(site.configFile, 'utf8');
  writeFileSync(site.configFile, config.replace(site.keys('main'), site.keys('other')));
  await warned(site, /the changed configuration of this instance is not in use: .*another keyset/);
  await opens(site, sealed);
  assert.is((await seal(site)).keyId, keyId);
  const { code, stdout } = doctor(site);
  assert.is(code, 3);
  assert.match(stdout, 'has another keyset');
  writeFileSync(site.configFile, config);
  await fine(site);
});

test('a keyset of version 1 is converted when every replica reads version 2, and its data still opens', async ({
  site,
}) => {
  const keyId = site.generate('main');
  const manifest = `${site.path('keys/main')}/keyset.yaml`;
  writeFileSync(manifest, formatManifest(version1Manifest(keyId)));
  site.writeConfig([site.instance('main')]);
  await site.serve([], 'key loaded');
  const sealed = await seal(site);
  const convert = (...evidence: string[]) => teapot('keys', 'convert', '--uri', site.keys('main'), ...evidence);
  assert.is(convert().code, 2, 'evidence is asked for');
  const report = `${launcher()} status --report --socket ${site.socket('main')}`;
  const blob = `${site.path('keys/main')}/${keyId}.key`;
  const good = readFileSync(blob);
  writeFileSync(blob, randomBytes(32));
  await warned(site, /not those of the key in memory/);
  await opens(site, sealed);
  const refused = convert('--replicas', '1', '--fetch', report);
  assert.is(refused.code, 1, refused.stderr);
  assert.match(refused.stderr, `does not hold key ${keyId} of the key store`);
  writeFileSync(blob, good);
  await fine(site);
  const converted = convert('--replicas', '1', '--fetch', report);
  assert.is(converted.code, 0, converted.stderr);
  assert.match(readFileSync(manifest, 'utf8'), /^formatVersion: 2\n[^]*^    check: /m);
  await eventually(() => {
    const { stdout } = teapot('status', '--socket', site.socket('main'), '--output', 'json');
    const { description } = JSON.parse(stdout) as { description: { keyset: { generation: number } } };
    assert.is(description.keyset.generation, 1);
  });
  await opens(site, sealed);
  await fine(site);
  assert.is(convert('--unverified').code, 1, 'there is nothing to convert any more');
});

test('a key is promoted when every replica proves that it holds it, and not before', async ({ site }) => {
  // Two nodes with a copy each.
  site.generate('one');
  mkdirSync(site.path('keys'), { recursive: true });
  cpSync(site.path('keys/one'), site.path('keys/two'), { recursive: true });
  site.writeConfig([site.instance('one'), site.instance('two')]);
  await site.serve([], 'key loaded');
  const next = site.generate('one');
  const fetch = (name: string) => `${launcher()} status --report --socket ${site.socket(name)}`;
  const promote = () =>
    teapot(
      'keys',
      'promote',
      '--uri',
      site.keys('one'),
      next,
      '--replicas',
      '2',
      '--fetch',
      fetch('one'),
      fetch('two'),
    );
  await eventually(() =>
    assert.match(promote().stderr, /on .* uses generation 1 of the keyset, and the store has generation 2/),
  );
  assert.is(promote().code, 1);
  cpSync(site.path('keys/one'), site.path('keys/two'), { recursive: true });
  await eventually(() => assert.is(promote().code, 0));
  cpSync(site.path('keys/one'), site.path('keys/two'), { recursive: true });
  const sealed = await eventually(async () => {
    const one = await seal(site, 'one');
    assert.is(one.keyId, next);
    return one;
  });
  await opens(site, sealed, 'two');
});

test.run();
